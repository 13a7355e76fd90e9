"""Measures the proxy beside nginx and mitmdump, in front of the same fast upstream, in one run: `python -m benchmarks`."""
