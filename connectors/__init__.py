"""The outside world, one package per system."""
