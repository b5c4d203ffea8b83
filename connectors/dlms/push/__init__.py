"""Meters that call in by themselves: DataNotification and EventNotification as a Bytewax source."""
