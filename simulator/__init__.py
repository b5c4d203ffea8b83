"""Virtual meters and a ThingsBoard stand-in, for the default run, demos, tests and benchmarks."""
