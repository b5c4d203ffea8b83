"""A virtual DLMS meter over asyncio TCP."""
