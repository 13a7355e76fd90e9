"""`/v1/systemone`: questions about a state, answered by the probabilities of labels. Usage is named as in `/v1/responses`."""

from typing import Final

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import put_together, read_json, take_apart
from proxy.dialects.pooling import read_model
from proxy.reported import Reported
from proxy.sse import Fingerprint
from proxy.unary import UnaryWatcher
from proxy.watch import Watcher


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Body(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


_body: Final = msgspec.json.Decoder(_Body).decode


class SystemOne:
    """vLLM's structured decisions. An input is a question."""

    name = "systemone"
    takes = Takes(whole=True, each=1)

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        if "questions" not in members:
            raise BadRequestError("`questions` is missing")
        questions = take_apart(bytes(members["questions"]), "`questions`")
        members["cache_salt"] = msgspec.Raw(b'"' + asked.salt.encode() + b'"')
        return Call(body=put_together(members), model=read_model(members), inputs=max(len(questions), 1))

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return _DecisionWatcher()


class _DecisionWatcher(UnaryWatcher):
    """Reads whole answers alone: one label for each question never makes a large body."""

    __slots__ = ()

    def _search(self, seen: bytes) -> Reported | None:
        return None

    def _understand(self, whole: bytes) -> None:
        body = _body(whole)
        self.response_id, self.served_model = body.id, body.model
        if body.usage is not None:
            self._reported = Reported(body.usage.input_tokens, body.usage.output_tokens)
