"""Which roll-ups a batch touches: the (tenant, minute) windows of its usage events. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from contracts.clock import minute_of
from contracts.events import Event
from stream.decode import event_time

T = TypeVar("T")


class Window(NamedTuple):
    """A tenant's UTC minute."""

    tenant: str
    minute: datetime


def touched(batch: Iterable[Event[Any]]) -> list[Window]:
    """Return the windows of usage or request events, each once, in order."""
    seen = {(event.data.tenant, event_time(event.data)) for event in batch}
    return sorted({Window(tenant, minute_of(moment)) for tenant, moment in seen})


def chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
