"""The operator's tools, each a command of `python -m commands`."""
