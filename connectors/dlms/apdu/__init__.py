"""The APDUs of a DLMS client: building requests, parsing replies, following one GET to its end.

`requests` is the only module of the project that touches gurux-dlms. `replies` turns bytes into plain values, `get` joins
the parts of one answer, `names` puts the codes of the standard into words. All values are those of IEC 62056-5-3.
Ciphering belongs between `requests` or `replies` and the framing; other access than plain attributes into `get`.
"""
