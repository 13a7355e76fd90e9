"""`/invocations`: SageMaker's one path for several APIs. Which one, vLLM reads from the body's shape, and so do we.

vLLM tries its APIs in turn, so a body that could be two of them is refused. A LoRA adapter named in SageMaker's own header
takes the place of `model`: it is written into the body, so that the request is checked for the model that will answer.
"""

from typing import Final

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call, Dialect, Takes
from proxy.dialects.body import put_together, read_json
from proxy.dialects.chat import Chat
from proxy.dialects.completions import Completions
from proxy.dialects.pooling import EMBEDDINGS, POOLING, RERANK, SCORE
from proxy.sse import Fingerprint
from proxy.watch import Watcher

_APIS: Final[tuple[tuple[frozenset[str], Dialect], ...]] = (
    (frozenset({"messages"}), Chat()),
    (frozenset({"prompt", "prompt_embeds"}), Completions()),
    (frozenset({"input"}), EMBEDDINGS),
    (frozenset({"query"}), RERANK),
    (frozenset({"queries", "text_1", "data_1"}), SCORE),
)
"""The members that each API's requests have, and no other's."""
_ADAPTER: Final = b"x-amzn-sagemaker-adapter-identifier"


class Invocations:
    """SageMaker's path. The dialect of an answer is that of the API which was found."""

    name = "invocations"
    takes = Takes()

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        found = [dialect for names, dialect in _APIS if not names.isdisjoint(members)]
        if len(found) != 1:
            raise BadRequestError(
                "the body must be a request for one of chat, completions, embeddings, rerank and score"
            )
        dialect = POOLING if found[0] is EMBEDDINGS and "task" in members else found[0]
        adapter = asked.fields.get(_ADAPTER)
        if adapter is not None:
            members["model"] = msgspec.Raw(msgspec.json.encode(_name(adapter)))
        body = put_together(members)
        call = dialect.read(Asked(body, asked.salt, asked.content_type, asked.parameter, asked.fields, asked.trusted))
        call.by = dialect
        return call

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        assert call.by is not None
        return call.by.watch(call, events, fingerprint)


def _name(adapter: bytes) -> str:
    try:
        return adapter.decode("ascii")
    except UnicodeDecodeError:
        raise BadRequestError("the adapter's name must be ASCII") from None
