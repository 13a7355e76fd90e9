"""The compose file for tests: read as Compose reads it, and its own commands run outside containers."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from ruamel.yaml import YAML

from tests.servers import ROOT

FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / "deploy" / "compose.env.example"
_REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
SECRET = "0123456789abcdef0123"


@cache
def load() -> dict[str, Any]:
    """Return the compose file with anchors resolved and references left as they are."""
    loaded: dict[str, Any] = YAML(typ="safe").load(FILE.read_text())
    return loaded


def services() -> dict[str, dict[str, Any]]:
    """Return its services by name."""
    found: dict[str, dict[str, Any]] = load()["services"]
    return found


def own() -> dict[str, dict[str, Any]]:
    """Return the services whose images are built here."""
    return {name: service for name, service in services().items() if "build" in service}


def example() -> dict[str, str]:
    """Return the variables of the example's environment file."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def filled() -> dict[str, str]:
    """Return the example's variables with something in each."""
    return {name: value or SECRET for name, value in example().items()}


def references(node: Any) -> set[str]:
    """Return the names of all variables that the file refers to."""
    if isinstance(node, Mapping):
        return set().union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return {match[1] for match in _REFERENCE.finditer(node)} if isinstance(node, str) else set()


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Fill in variables as Compose does; raises ValueError for a required one that is empty."""

    def value(match: re.Match[str]) -> str:
        name, kind, word = match.groups()
        if found := variables.get(name):
            return found
        if kind == "?":
            raise ValueError(f"{name}: {word}")
        return word or ""

    return _REFERENCE.sub(value, text)


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """Return a service's environment, filled in."""
    return {name: interpolate(str(value), filled()) for name, value in service.get("environment", {}).items()}
