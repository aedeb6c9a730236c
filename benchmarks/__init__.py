"""Benchmarks: ``python -m benchmarks --help``.  They measure; tests never do."""
