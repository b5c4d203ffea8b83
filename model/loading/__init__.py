"""From pipeline.yaml to settings: every mistake found at once, each with file, line and remedy."""
