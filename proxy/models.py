"""Which models the upstream serves, learned from its `GET /v1/models`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NamedTuple

import msgspec
import structlog

log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = 1.0
"""While there is no list at all, and for requests that name a model that is not on it."""


class Served(NamedTuple):
    """A model that the upstream serves: its name, and the name of the model below an adapter."""

    name: str
    base: str


class Catalog(msgspec.Struct, frozen=True):
    """What the upstream serves, as far as that is known. `listed` False: nothing is, so anything may be."""

    listed: bool = False
    by_name: dict[str, Served] = {}
    default: str | None = None
    """The model of a request that names none."""
    cards: dict[str, bytes] = {}
    """By name, what the upstream says of each model, as JSON."""
    contexts: dict[str, int] = {}
    """By name, the tokens that prompt and answer together can have, where the upstream says so."""

    def listing(self, names: Collection[str]) -> bytes:
        """Return the upstream's list with none but these models, as it would write it."""
        cards = [card for name, card in self.cards.items() if name in names]
        return b'{"object":"list","data":[' + b",".join(cards) + b"]}"


class _Card(msgspec.Struct):
    id: str
    parent: str | None = None
    max_model_len: int | None = None


class _List(msgspec.Struct):
    data: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_List).decode
_card = msgspec.json.Decoder(_Card).decode

Fetch = Callable[[], Awaitable[tuple[int, bytes]]]
"""Get `/v1/models` from the upstream: status and body. Raises OSError when there is no answer."""


def read(body: bytes) -> Catalog:
    """Read a model list. An adapter names its base model as `parent`. Raises ValueError."""
    raw = [bytes(card) for card in _decode(body).data]
    cards = [_card(card) for card in raw]
    return Catalog(
        listed=True,
        by_name={card.id: Served(card.id, card.parent or card.id) for card in cards},
        default=cards[0].id if cards else None,
        cards={card.id: text for card, text in zip(cards, raw, strict=True)},
        contexts=_contexts(cards),
    )


def _contexts(cards: list[_Card]) -> dict[str, int]:
    """Return how long each model's context is; an adapter's is that of the model below it."""
    said = {card.id: card.max_model_len for card in cards}
    known = {card.id: card.max_model_len or said.get(card.parent or "") for card in cards}
    return {name: length for name, length in known.items() if length is not None and length > 0}


class ModelWatch:
    """Keeps the catalog fresh. `changed` is called with each new one."""

    def __init__(self, fetch: Fetch, interval: float, changed: Callable[[Catalog], None]) -> None:
        self._fetch = fetch
        self._interval = interval
        self._changed = changed
        self._listed = False
        self._looked_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look every `interval` seconds, and every second while there is no list. Runs until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._interval if self._listed else min(RETRY_SECONDS, self._interval))

    def may_look(self) -> bool:
        """Return whether a look is under way, or the last one began long enough ago for another."""
        return self._running is not None or time.monotonic() - self._looked_at >= RETRY_SECONDS

    async def refresh(self) -> None:
        """Look now; whoever calls while a look is under way gets that one."""
        if self._running is None:
            self._looked_at = time.monotonic()
            self._running = asyncio.get_running_loop().create_task(self._look())
        await asyncio.shield(self._running)

    async def _look(self) -> None:
        try:
            status, body = await self._fetch()
            if status == 200:
                catalog = read(body)
                self._listed = True
                self._changed(catalog)
            else:
                log.warning("the upstream lists no models", status=status)
        except (OSError, ValueError) as error:
            log.warning("the upstream lists no models", error=str(error))
        finally:
            self._running = None
