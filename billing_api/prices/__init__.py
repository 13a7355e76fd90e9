"""Price books: what a meter of a model costs, from when, for whom. A book that has come into force never changes."""
