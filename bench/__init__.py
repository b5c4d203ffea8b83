"""Benchmarks: ours and a rival side by side in one run, reported as ratios with their spread."""
