"""The verbs of benchmark.py."""
