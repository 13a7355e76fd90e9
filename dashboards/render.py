"""Dashboards as the JSON that Grafana reads. The rendered files are committed, so that a change shows in review."""

from pathlib import Path
from typing import Any, Final

import msgspec

from dashboards import fleet

FILE: Final = Path(__file__).with_name("fleet.json")


def render() -> dict[str, Any]:
    """Return the fleet dashboard as plain JSON values."""
    encoded = msgspec.json.encode(fleet.build(), enc_hook=_plain)
    rendered: dict[str, Any] = msgspec.json.decode(encoded)
    return rendered


def text() -> str:
    """Return the fleet dashboard as the text of its file."""
    return msgspec.json.format(msgspec.json.encode(render()), indent=2).decode() + "\n"


def write(path: Path = FILE) -> Path:
    """Write the fleet dashboard to a file (by default the committed one) and return where."""
    path.write_text(text())
    return path


def _plain(value: Any) -> Any:
    """Turn one of the SDK's objects into what JSON has; every one of them has `to_json`."""
    return value.to_json()
