"""How readings are judged: what the rules say, checks of one reading, checks along time, and the judge. No Bytewax here."""
