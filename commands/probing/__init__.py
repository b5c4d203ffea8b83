"""Reading a meter once and showing everything about it, for `probe`."""
