"""What pooling models answer: embeddings, poolings, classes, scores, ranks. Prompt tokens only, in the answer's `usage`.

`/v1/embeddings` and `/pooling` may be asked for bytes in place of JSON: usage then stands in a header, `metadata`. Asked for
`bytes_only`, vLLM leaves that header out; so `bytes` is asked for, and the header is taken out again.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from proxy.dialects import inputs
from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import Members, put_together, read_json, text
from proxy.dialects.generation import MAX_MODEL
from proxy.dialects.media import unname
from proxy.reported import Reported
from proxy.sse import Fingerprint
from proxy.unary import UnaryWatcher
from proxy.usage import first_reported
from proxy.watch import Watcher

USAGE_HEADER: Final = b"metadata"
_REPEATED: Final = ("query", "queries", "text_1", "data_1")
_BYTES: Final = msgspec.Raw(b'"bytes"')


class Pooling:
    """An endpoint of pooling models. `count`: how many inputs a request holds; `encodes`: it knows `encoding_format`.

    `each`: tokens that are counted as generated for every input.
    """

    def __init__(self, name: str, count: Callable[[Members], int], encodes: bool = False, each: int = 0) -> None:
        self.name = name
        self.takes = Takes(ids=("input",), repeated=_REPEATED, each=each)
        self._count = count
        self._encodes = encodes

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        self.check(members)
        model = read_model(members)
        end_user = text(members, "user")
        encoding = text(members, "encoding_format") if self._encodes else None
        if encoding == "bytes_only":
            members["encoding_format"] = _BYTES
        unname(members, asked.body, inputs.PARTS)
        members["cache_salt"] = msgspec.Raw(b'"' + asked.salt.encode() + b'"')
        return Call(
            body=put_together(members),
            model=model,
            end_user=end_user[:2048] if end_user else None,
            inputs=self._count(members),
            usage_header=USAGE_HEADER if encoding in ("bytes", "bytes_only") else None,
            hide_usage_header=encoding == "bytes_only",
        )

    def check(self, members: Members) -> None:
        """Refuse what the endpoint cannot be metered for. Raises BadRequestError."""

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return UnaryWatcher()


class AnyPooling(Pooling):
    """`/pooling`, whose plugins report no usage."""

    def check(self, members: Members) -> None:
        """Refuse requests to a plugin."""
        if "data" in members or bytes(members.get("task", b"")) == b'"plugin"':
            raise BadRequestError("`data` and `task: plugin` are not served here: vLLM's plugins report no usage")


class Ranking(Pooling):
    """Ranks: the answer repeats the documents."""

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return _RankWatcher()


class _RankWatcher(UnaryWatcher):
    """Believes what stands before the documents, which are the client's own words."""

    __slots__ = ()

    def _search(self, seen: bytes) -> Reported | None:
        return self._reported or first_reported(seen)


def read_model(members: Members) -> str | None:
    """Return the model that a request names, or None. Raises BadRequestError."""
    model = text(members, "model")
    if model is not None and len(model) > MAX_MODEL:
        raise BadRequestError(f"`model` is longer than {MAX_MODEL} characters")
    return model


EMBEDDINGS: Final = Pooling("embeddings", inputs.texts, encodes=True)
POOLING: Final = AnyPooling("pooling", inputs.texts, encodes=True)
CLASSIFY: Final = Pooling("classify", inputs.texts)
SCORE: Final = Pooling("score", inputs.pairs)
RERANK: Final = Ranking("rerank", inputs.documents)
GENERATIVE_SCORING: Final = Pooling("generative_scoring", inputs.items, each=1)
"""Scores by a model that generates: one token for each item, counted as output too."""
