"""The responses that the server keeps, as vLLM does with VLLM_ENABLE_RESPONSES_API_STORE=1; also those nobody waits for."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from sim.errors import ApiError
from sim.requests import Message


@dataclass
class Stored:
    """A response: as it was last, the chat it ends, and, if it is streamed in the background, its events so far."""

    answer: dict[str, Any]
    chat: list[Message]
    events: list[bytes] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    task: asyncio.Task[None] | None = None

    def update(self, answer: dict[str, Any], said: str) -> None:
        """Take the finished answer."""
        self.answer = answer
        self.chat = [*self.chat, Message("assistant", said)]

    def end(self) -> None:
        """Note that no more events come."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Tell who waits for events."""
        self.changed.set()
        self.changed = asyncio.Event()

    def cancel(self) -> None:
        """Stop a response that is still being made; raises ApiError when it is not."""
        if self.answer["status"] not in ("queued", "in_progress"):
            raise ApiError("Cannot cancel a synchronous response.", "invalid_request_error", "response_id")
        self.answer["status"] = "cancelled"
        if self.task is not None:
            self.task.cancel()
        self.end()


class Store:
    """Responses by id, for as long as the server runs."""

    def __init__(self) -> None:
        self._held: dict[str, Stored] = {}

    def keep(self, entry: Stored) -> None:
        """Keep a response."""
        self._held[entry.answer["id"]] = entry

    def get(self, response_id: str) -> Stored:
        """Return a response; raises ApiError when there is none of that id."""
        entry = self._held.get(response_id)
        if entry is None:
            message = f"Response with id '{response_id}' not found."
            raise ApiError(message, "invalid_request_error", "response_id", 404)
        return entry

    async def close(self) -> None:
        """Stop what is still being made."""
        tasks = [entry.task for entry in self._held.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Background:
    """The outlet of a response that nobody waits for: it keeps the events of a stream, and the status of a failure."""

    def __init__(self, entry: Stored) -> None:
        self._entry = entry

    def send(self, status: int, _body: bytes) -> None:
        """Take a whole answer, which the format already put into the store, or an error."""
        if status != 200:
            self.abort()

    def open_stream(self) -> None:
        """Do nothing: who reads the events later opens a stream of its own."""

    def write(self, data: bytes) -> None:
        """Take some events."""
        self._entry.events += [event + b"\n\n" for event in data.split(b"\n\n") if event]
        self._entry.wake()

    def close_stream(self) -> None:
        """Note that no more events come."""
        self._entry.end()

    def abort(self) -> None:
        """Note that it failed."""
        self._entry.answer["status"] = "failed"
        self._entry.end()

    async def writable(self) -> None:
        """Wait for nobody."""
