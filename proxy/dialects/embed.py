"""`/v2/embed`: embeddings in Cohere's shape. Prompt tokens only, in `meta.billed_units` of the answer.

vLLM reads no `cache_salt` here, so that none is set, and the path is closed unless opened: see docs/endpoints.md.
"""

import re
from typing import Final

import msgspec

from proxy.dialects import inputs
from proxy.dialects.base import Asked, Call, Takes
from proxy.dialects.body import put_together, read_json
from proxy.dialects.pooling import read_model
from proxy.reported import Reported
from proxy.sse import Fingerprint
from proxy.unary import UnaryWatcher
from proxy.watch import Watcher


class _Billed(msgspec.Struct):
    input_tokens: int | None = None
    image_tokens: int | None = None

    def reported(self) -> Reported | None:
        """Return what OpenAI's shape would say: vLLM counts a prompt with images as image tokens, whole."""
        counts = [count for count in (self.input_tokens, self.image_tokens) if count is not None]
        return Reported(prompt_tokens=sum(counts)) if counts else None


class _Meta(msgspec.Struct):
    billed_units: _Billed | None = None


class _Body(msgspec.Struct):
    id: str | None = None
    meta: _Meta | None = None


_body = msgspec.json.Decoder(_Body).decode
_billed = msgspec.json.Decoder(_Billed).decode
_UNITS: Final = re.compile(rb'"billed_units"\s*:\s*(\{[^{}]*\})')


class Embed:
    """Cohere's embeddings, as vLLM serves them."""

    name = "embed"
    takes = Takes()

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        count = inputs.most(members, ("texts", "images", "inputs"))
        return Call(body=put_together(members), model=read_model(members), inputs=count)

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return _EmbedWatcher()


class _EmbedWatcher(UnaryWatcher):
    """Reads usage where Cohere puts it, after the texts: quotes within these are escaped, so that none can look like it."""

    __slots__ = ()

    def _search(self, seen: bytes) -> Reported | None:
        match = _UNITS.search(seen)
        try:
            return _billed(match[1]).reported() if match is not None else None
        except ValueError:
            return None

    def _understand(self, whole: bytes) -> None:
        body = _body(whole)
        self.response_id = body.id
        if body.meta is not None and body.meta.billed_units is not None:
            self._reported = body.meta.billed_units.reported()
