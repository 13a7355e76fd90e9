"""`/v1/realtime`: a WebSocket on which audio goes up and its transcription comes down, one utterance after another.

A session is one request. Each utterance ends in an event with its own usage, so they are added up; what an unfinished one
sent is counted by its events, which is an estimate. vLLM answers with one model, whatever name a session uses for it.
"""

from typing import Final

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.reported import Reported
from proxy.sse import Fingerprint
from proxy.tokens import Count, Tokens
from proxy.watch import SessionWatcher, Watcher

METHOD: Final = "WEBSOCKET"
"""The method under which an upgrade stands in the table: no request of plain HTTP has it."""
MAX_MODEL: Final = 512


class _Said(msgspec.Struct):
    type: str | None = None
    model: str | None = None
    final: bool = False


class _Heard(msgspec.Struct):
    type: str
    id: str | None = None
    code: str | None = None
    usage: Reported | None = None


_said = msgspec.json.Decoder(_Said).decode
_heard = msgspec.json.Decoder(_Heard).decode


class Realtime:
    """vLLM's transcription of live audio."""

    name = "realtime"
    takes = Takes(bounded=False)

    def read(self, _asked: Asked) -> Call:
        """Read the upgrade: it asks for nothing yet."""
        return Call(body=b"", stream=True)

    def watch(self, _call: Call, _events: bool, _fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the session."""
        return RealtimeWatcher()


class RealtimeWatcher(SessionWatcher):
    """Watches a session: each message of vLLM goes through `feed`, each of the client through `said`."""

    __slots__ = (
        "_done",
        "_failures",
        "_input",
        "_model",
        "_output",
        "_pieces",
        "_started",
    )

    def __init__(self) -> None:
        super().__init__()
        self.finished = True  # no utterance is open
        self._model: str | None = None
        self._started = False
        self._done = self._failures = self._pieces = 0
        self._input: int | None = None
        self._output: int | None = None

    def said(self, data: bytes) -> str | None:
        """Take a message of the client; return the model that it names. Raises BadRequestError.

        What cannot be read is refused, not passed on: vLLM's parser may read it after all, and name a model.
        """
        try:
            event = _said(data)
        except (ValueError, RecursionError):
            raise BadRequestError("This is no event of this API.", "invalid_json") from None
        if event.type == "input_audio_buffer.commit" and not event.final:
            self._started, self.finished = True, False
        elif event.type == "session.update" and event.model is not None:
            if len(event.model) > MAX_MODEL:
                raise BadRequestError(f"`model` is longer than {MAX_MODEL} characters")
            if self._started and event.model != self._model:
                raise BadRequestError("A session keeps the model that it began with.")
            self._model = event.model
            return event.model
        return None

    def feed(self, data: bytes, last: bool) -> bytes:
        """Take a message of vLLM."""
        try:
            event = _heard(data)
        except (ValueError, RecursionError):  # nothing that vLLM sends: it says nothing of usage
            return data
        if event.type == "transcription.delta":
            self.began = True
            self.finished = False
            self._pieces += 1
        elif event.type == "transcription.done":
            self._end(event.usage)
        elif event.type == "session.created":
            self.response_id = event.id
        elif event.type == "error" and event.code == "model_not_validated":
            self._started, self.finished = self._done > 0, self._pieces == 0  # the utterance did not begin
        elif event.type == "error" and event.code == "processing_error" and not self.finished:
            self.failed = self.finished = True
            self._failures += 1
            self._add(None, self._pieces)
            self._pieces = 0
        return data

    def count(self) -> Count | None:
        """Return what was counted; None while nothing is known of what was generated."""
        if not (self._done or self._pieces or self.finished) or (self._failures and self._output is None):
            return None
        output = self._output if not self._pieces else (self._output or 0) + self._pieces
        whole = self.finished and not self._failures
        return Count(Tokens(input=self._input, output=output), whole)

    def _end(self, usage: Reported | None) -> None:
        self._done += 1
        self.finished = True
        self.failed = False
        if usage is None or usage.completion_tokens is None:
            self._failures += 1
            self._add(None, self._pieces)
        else:
            self._add(usage.prompt_tokens, usage.completion_tokens)
        self._pieces = 0

    def _add(self, given: int | None, made: int) -> None:
        if given is not None:
            self._input = (self._input or 0) + given
        self._output = (self._output or 0) + made
