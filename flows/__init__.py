"""From pipeline.yaml to one Bytewax dataflow."""
