"""`/cohere/v2/chat`: Cohere's chat, as vLLM serves it where it is told to. Usage stands at the end, in `usage.tokens`.

vLLM reads no `cache_salt` here, so that none is set, and the path is closed unless opened: see docs/endpoints.md.
"""

from typing import Final

import msgspec

from proxy.dialects.base import Asked, Call, Takes
from proxy.dialects.body import flag, put_together, read_json
from proxy.dialects.pooling import read_model
from proxy.events import EventWatcher
from proxy.sse import Fingerprint
from proxy.tokens import Tokens
from proxy.watch import Watcher
from proxy.whole import Found, WholeWatcher


class Cohere:
    """Cohere's chat."""

    name = "cohere"
    takes = Takes(caps=("max_tokens",))

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        model, stream = read_model(members), flag(members, "stream") or False
        return Call(body=put_together(members), model=model, stream=stream)

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return _ChatEvents() if events else WholeWatcher(_read_answer, _read_usage)


class _Tokens(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Usage(msgspec.Struct):
    tokens: _Tokens | None = None
    cached_tokens: float | None = None

    def counts(self) -> Tokens:
        """Return the counts, which Cohere writes as 12.0."""
        said = self.tokens if self.tokens is not None else _Tokens()
        return Tokens(
            input=_whole(said.input_tokens), cached=_whole(self.cached_tokens), output=_whole(said.output_tokens)
        )


def _whole(count: float | None) -> int | None:
    return int(count) if count is not None else None


class _Answer(msgspec.Struct):
    id: str | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    type: str = ""
    id: str | None = None
    delta: msgspec.Raw = msgspec.Raw(b"null")


class _Text(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct):
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: _Text | None = None
    tool_plan: str | None = None
    tool_calls: _ToolCall | None = None


class _Delta(msgspec.Struct):
    message: _Message | None = None


class _End(msgspec.Struct):
    finish_reason: str | None = None
    usage: _Usage | None = None
    error: str | None = None


_answer: Final = msgspec.json.Decoder(_Answer).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode
_event: Final = msgspec.json.Decoder(_Event).decode
_delta: Final = msgspec.json.Decoder(_Delta).decode
_end: Final = msgspec.json.Decoder(_End).decode


class _ChatEvents(EventWatcher):
    """Watches a stream: pieces of text, usage in `message-end`, and `[DONE]`."""

    __slots__ = ()

    def _take(self, found: bytes) -> None:
        if found == b"[DONE]":
            self.finished = True
            return
        try:
            event = _event(found)
            self.response_id = self.response_id or event.id
            if event.type == "message-end":
                self._ended(_end(event.delta))
            elif event.type.endswith("-delta"):
                self._piece(_text(_delta(event.delta).message))
        except (ValueError, RecursionError):
            return

    def _ended(self, end: _End) -> None:
        self.began = True
        self.finish_reason = end.finish_reason
        self.failed = end.error is not None
        if end.usage is not None:
            self._total = end.usage.counts()


def _text(message: _Message | None) -> str | None:
    if message is None:
        return None
    content = message.content if message.content is not None else _Text()
    call = message.tool_calls.function if message.tool_calls is not None else None
    return content.text or content.thinking or message.tool_plan or (call.arguments if call is not None else None)


def _read_answer(body: bytes) -> Found:
    answer = _answer(body)
    tokens = answer.usage.counts() if answer.usage is not None else None
    return Found(tokens, answer.id, None, answer.finish_reason)


def _read_usage(usage: bytes) -> Tokens:
    return _usage(usage).counts()
