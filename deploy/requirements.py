"""Print what the named extras of `pyproject.toml` require: `python deploy/requirements.py proxy cli`.

An image installs these alone. (`uv sync --extra proxy` would not do: the project's default install holds every service.)
Runs in the image's build, before anything is installed: the standard library only.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_OWN = re.compile(r"weighbridge\[([^\]]+)\]")


def requirements(extras: Mapping[str, Sequence[str]], names: Sequence[str]) -> Iterator[str]:
    """Yield the requirements of extras, those of our own extras that they name in place of them."""
    for name in names:
        if name not in extras:
            raise SystemExit(f"there is no extra {name!r}; one of {', '.join(extras)}")
        for requirement in extras[name]:
            own = _OWN.fullmatch(requirement)
            if own:
                yield from requirements(extras, own[1].split(","))
            else:
                yield requirement


def main() -> int:
    """Print one requirement a line, each once."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    print("\n".join(sorted(set(requirements(project["optional-dependencies"], sys.argv[1:])))))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
