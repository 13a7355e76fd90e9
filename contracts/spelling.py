"""Names that look like settings and are none: most often misspelt, and then the setting has its default without a word."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from contracts.setting_names import NAMES

PREFIX: Final = "WEIGHBRIDGE_"
_OTHERS: Final = frozenset({"config", "data_dir", "api_url", "grafana_token"})
"""Variables that are no settings of a service."""
_NOT_OURS: Final = re.compile(r"test_.*|.*_(service_(host|port(_.*)?)|port(_\d+_(tcp|udp).*)?)")
"""Of the tests, and what Kubernetes and Docker write for a service that is named `weighbridge-…`."""


def variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable with our prefix that nothing reads."""
    for variable in environment:
        name = variable.removeprefix(PREFIX).lower()
        known = name in NAMES or name in _OTHERS or _NOT_OURS.fullmatch(name) is not None
        if variable.startswith(PREFIX) and not known:
            yield f"{variable} is no setting and is ignored{_hint(name, PREFIX, (*NAMES, *_OTHERS))}"


def keys(file: str, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key of the settings' file that is none."""
    for name in content:
        if name.lower() not in NAMES:
            yield f"{file}: there is no setting {name}{_hint(name.lower(), '', NAMES)}"


def _hint(name: str, prefix: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, sorted(known), 1)
    if not found:
        return ""
    return f"; did you mean {prefix + found[0].upper() if prefix else found[0]}?"
