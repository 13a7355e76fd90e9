"""Structured logs: one JSON object a line on stderr, without keys, secrets or prompts.

Log ids and counts. `configure` adds a guard that blanks values under names that hold secrets and anything shaped like
one of our keys, in case somebody forgets.
"""

import logging
import re
import sys
from typing import Any, Final

import structlog

_SECRET_NAMES: Final = frozenset(
    {"authorization", "x_api_key", "api_key", "token", "secret", "password", "prompt", "messages"}
)
_KEY_SHAPE: Final = re.compile(r"\b(wb_(?:live|test)_|Bearer |sk-)[\w.~+/-]+")


def configure(level: str, service: str) -> None:
    """Set up logging for a process: structlog's and the standard library's go the same way."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _Label(service),
        guard,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def guard(_logger: Any, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Blank what must never be logged."""
    for name, value in entry.items():
        if name.lower() in _SECRET_NAMES:
            entry[name] = "***"
        elif isinstance(value, str):
            entry[name] = _KEY_SHAPE.sub(r"\1***", value)
    return entry


class _Label:
    def __init__(self, service: str) -> None:
        self.service = service

    def __call__(self, _logger: Any, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
        entry.setdefault("service", self.service)
        return entry
