"""YAML as plain values, and the line on which each stands.

Numbers with a point stay text, so that a price is what was written: YAML's own are floats. So do times.
"""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cli.errors import CommandError

Place = tuple[str | int, ...]
"""Where a value stands: names of fields and positions in lists, from the top."""
MAX_DEPTH: Final = 12
MAX_VALUES: Final = 1_000_000
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_WORDS: Final[dict[str, bool | None]] = {"": None, "~": None, "null": None, "true": True, "false": False}


class Document:
    """A file; `value` is what it holds. Raises CommandError, which names the line, for what is no YAML."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lines: dict[Place, int] = {}
        try:
            root = yaml.compose(file.read_text("utf-8"), yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise self._wrong(line, str(error.problem)) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CommandError(f"{file} cannot be read: {error}", 2) from error
        self.value: Any = None if root is None else self._plain(root, ())

    def line(self, place: Sequence[Hashable]) -> int:
        """Return the line of a value; of one that is not there, that of what it should stand in."""
        known = tuple(place)
        while known and known not in self._lines:
            known = known[:-1]
        return self._lines.get(known, 1)  # type: ignore[arg-type]

    def wrong(self, flaws: Sequence[tuple[Sequence[Hashable], str]]) -> CommandError:
        """Return the error that names line and field of each flaw, of the first five at least."""
        said = [f"line {self.line(place)}: {_name(place)}{words}" for place, words in flaws[:5]]
        more = f"; and {len(flaws) - 5} more" if len(flaws) > 5 else ""
        return CommandError(f"{self.file}, {'; '.join(said)}{more}", 2)

    def _wrong(self, line: int, words: str) -> CommandError:
        return CommandError(f"{self.file}, line {line}: {words}", 2)

    def _plain(self, node: Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(place, line)
        if len(place) > MAX_DEPTH or len(self._lines) > MAX_VALUES:
            raise self._wrong(line, "nested too deeply, or too much")
        if isinstance(node, SequenceNode):
            return [self._plain(item, (*place, number)) for number, item in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self._fields(node, place)
        assert isinstance(node, ScalarNode)
        return node.value if node.style is not None else _scalar(node.value)

    def _fields(self, node: MappingNode, place: Place) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise self._wrong(line, "the name of a field is a word")
            if key.value in fields:
                raise self._wrong(line, f"{key.value} stands here twice")
            self._lines[*place, key.value] = line
            fields[key.value] = self._plain(value, (*place, key.value))
        return fields


def _scalar(text: str) -> bool | int | str | None:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _name(place: Sequence[Hashable]) -> str:
    """Write a place as `tenants[0].limits[1].meter: `."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    return f"{name}: " if name else ""
