"""`/v1/messages`: Anthropic's messages, as vLLM serves them, and `/v1/messages/count_tokens`, which generates nothing.

Anthropic's `input_tokens` leave out what was read from the cache or written to it; ours hold it. vLLM names no cached tokens in
the event that begins a stream, whose `input_tokens` are then the whole prompt; the last event says them apart.
"""

from typing import Final

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import Members, flag, put_together, read_json, take_apart, text
from proxy.dialects.media import unname
from proxy.dialects.pooling import read_model
from proxy.events import EventWatcher
from proxy.sse import Fingerprint
from proxy.tokens import Tokens
from proxy.watch import FreeWatcher, Watcher
from proxy.whole import Found, WholeWatcher


class Messages:
    """Anthropic's messages."""

    name = "messages"
    takes = Takes(caps=("max_tokens",), default=0)

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        unname(members, asked.body, ("messages", "system"))
        members["cache_salt"] = msgspec.Raw(b'"' + asked.salt.encode() + b'"')
        return Call(
            body=put_together(members),
            model=read_model(members),
            stream=flag(members, "stream") or False,
            end_user=_end_user(members),
        )

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return _MessageEvents() if events else WholeWatcher(_read_answer, _read_usage)


class CountTokens:
    """How long a prompt is: answered from the tokenizer alone."""

    name = "count_tokens"
    takes = Takes()

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        return Call(body=put_together(members), model=read_model(members), free=True)

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return FreeWatcher()


def _end_user(members: Members) -> str | None:
    """Return `metadata.user_id`."""
    given = members.get("metadata")
    if given is None or bytes(given) == b"null":
        return None
    if bytes(given)[:1] != b"{":
        raise BadRequestError("`metadata` must be an object")
    named = text(take_apart(bytes(given), "`metadata`"), "user_id")
    return named[:2048] if named else None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    def tokens(self) -> Tokens:
        """Return the counts in our meaning: the parts that Anthropic tells apart are added again."""
        cached, created = self.cache_read_input_tokens, self.cache_creation_input_tokens
        whole = None if self.input_tokens is None else self.input_tokens + (cached or 0) + (created or 0)
        return Tokens(input=whole, cached=cached, cache_created=created, output=self.output_tokens)


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


_event: Final = msgspec.json.Decoder(_Event).decode
_message: Final = msgspec.json.Decoder(_Message).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode


class _MessageEvents(EventWatcher):
    """Watches a stream: the prompt's length in the first event, pieces of text, and usage in the last but one."""

    __slots__ = ()

    def _take(self, found: bytes) -> None:
        try:
            event = _event(found)
        except (ValueError, RecursionError):
            return
        if event.type == "content_block_delta":
            delta = event.delta if event.delta is not None else _Delta()
            self._piece(delta.text or delta.thinking or delta.partial_json)
        elif event.type == "message_start" and event.message is not None:
            self.response_id, self.served_model = event.message.id, event.message.model
            self._early = event.message.usage.tokens() if event.message.usage is not None else None
        elif event.type == "message_delta":
            self.began = True
            if event.delta is not None:
                self.finish_reason = event.delta.stop_reason
            self._total = event.usage.tokens() if event.usage is not None else self._total
        elif event.type == "message_stop":
            self.finished = True
        elif event.type == "error":
            self.failed = True


def _read_answer(body: bytes) -> Found:
    message = _message(body)
    tokens = message.usage.tokens() if message.usage is not None else None
    return Found(tokens, message.id, message.model, message.stop_reason)


def _read_usage(usage: bytes) -> Tokens:
    return _usage(usage).tokens()
