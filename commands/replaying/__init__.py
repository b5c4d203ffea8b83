"""Letting archived readings flow through the nodes of a configuration once more, for `replay`."""
