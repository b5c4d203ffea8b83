"""Finding meters and what is in them, for `discover`."""
