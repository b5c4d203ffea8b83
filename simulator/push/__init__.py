"""A virtual meter that calls in by itself: DataNotification and EventNotification over TCP, UDP or a serial line."""
