"""What pipeline.yaml may say, one file per section."""
