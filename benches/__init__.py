"""Benchmarks against rivals: `make bench`, or `python -m benches --help`."""
