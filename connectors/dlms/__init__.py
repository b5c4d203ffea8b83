"""DLMS/COSEM meters as a Bytewax source."""
