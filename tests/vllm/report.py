"""Accounts as tables in Markdown, for docs/exactness.md."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from tests.vllm.accounts import Account

Column = Callable[[list[Account]], int]


def _repeated(accounts: list[Account]) -> int:
    return sum(one.work.prefilled - sum(one.work.prompts.values()) for one in accounts)


def _unreported(accounts: list[Account]) -> int:
    return sum(sum(one.work.prompts.values()) for one in accounts if not one.known_input)


def _missed(accuracy: str) -> Column:
    return lambda accounts: sum(one.missed for one in accounts if one.fate == f"client_closed, {accuracy}")


SHAPES: dict[str, Column] = {
    "requests": len,
    "clients that left": lambda accounts: sum(one.seen.left_at is not None for one in accounts),
    "input billed": lambda accounts: sum(one.billed[0] for one in accounts),
    "engine's input": lambda accounts: sum(one.work.prefilled for one in accounts),
    "again for each choice": _repeated,
    "not reported": _unreported,
    "output billed": lambda accounts: sum(one.billed[1] for one in accounts),
    "engine's output": lambda accounts: sum(one.work.generated for one in accounts),
    "cut: never sent": _missed("exact"),
    "cut: estimated": _missed("estimated"),
    "cut: unknown": _missed("unknown"),
}
FATES: dict[str, Column] = {
    "requests": len,
    "output billed": lambda accounts: sum(one.billed[1] for one in accounts),
    "engine's output": lambda accounts: sum(one.work.generated for one in accounts),
    "difference": lambda accounts: sum(one.missed for one in accounts),
    "most of one request": lambda accounts: max(one.missed for one in accounts),
    "generated after the client left": lambda accounts: sum(one.afterwards for one in accounts),
    "generated before, never sent": lambda accounts: sum(one.unsent for one in accounts),
    "thrown away in the engine": lambda accounts: sum(one.work.late for one in accounts),
}


def by_shape(accounts: Iterable[Account]) -> str:
    """Return a line for each shape, and their sum."""
    return _table("shape", SHAPES, _grouped(accounts, lambda one: one.seen.request.shape))


def by_fate(accounts: Iterable[Account]) -> str:
    """Return a line for each way to end, and their sum."""
    return _table("outcome, accuracy", FATES, _grouped(accounts, lambda one: one.fate))


def _grouped(accounts: Iterable[Account], name: Callable[[Account], str]) -> dict[str, list[Account]]:
    found: defaultdict[str, list[Account]] = defaultdict(list)
    for one in accounts:
        found[name(one)].append(one)
    every = [one for group in found.values() for one in group]
    return {**dict(sorted(found.items())), "**all**": every}


def _table(title: str, columns: dict[str, Column], groups: dict[str, list[Account]]) -> str:
    lines = [[title, *columns], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(f"{column(group):,}" for column in columns.values())] for name, group in groups.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
