"""Runs a harness under atheris: coverage says which inputs are worth changing further."""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def drive(
    check: Callable[[bytes], None], seeds: Sequence[bytes], watched: tuple[str, ...], words: Sequence[bytes]
) -> None:
    """Run `check` as often as `--runs` says, from `seeds` on, led by what the modules `watched` do. Does not return.

    `words`: what inputs are made of.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0, help="stop after that long")
    parser.add_argument("--max-size", type=int, default=2048, help="bytes of an input")
    wishes = parser.parse_args()
    atheris = importlib.import_module("atheris")
    for name in watched:
        module = importlib.import_module(name)
        for each in vars(module).copy().values():
            if isinstance(each, type) and each.__module__ == name:
                for key, made in list(vars(each).items()):
                    if callable(made) and hasattr(made, "__code__"):
                        setattr(each, key, atheris.instrument_func(made))
            elif callable(each) and getattr(each, "__module__", None) == name and hasattr(each, "__code__"):
                atheris.instrument_func(each)
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w") as dictionary:
        for number, seed in enumerate(seeds):
            (Path(folder) / f"seed-{number:03}").write_bytes(seed)
        for word in words:
            dictionary.write('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n')
        dictionary.flush()
        flags = [f"-runs={wishes.runs}", f"-max_len={wishes.max_size}", f"-max_total_time={wishes.seconds}"]
        flags += [f"-dict={dictionary.name}", f"-artifact_prefix={tempfile.gettempdir()}/"]
        atheris.Setup([sys.argv[0], *flags, folder], check)
        atheris.Fuzz()
