"""The words everyone shares: what flows (messages), what pipeline.yaml may say (settings), what goes wrong (errors)."""
