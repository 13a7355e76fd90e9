"""What no input may bring about, and an engine that looks for one: `python -m tests.fuzz.heads --runs 100000`.

Each harness is one function of some bytes, `check`, that raises AssertionError. Tests run it over a fixed corpus and over
hypothesis's inventions; atheris (`uv sync --group fuzz`) invents by what the code does.
"""
