"""`/invocations`, SageMaker's one path for all: the body's fields say which endpoint is meant.

A vLLM has either the endpoints that generate or those that only read; the simulator has both, so a body with neither
messages nor any of the readers' fields is a completion, as on a server that generates.
"""

from typing import Final

import msgspec

from sim.chat import chat
from sim.completions import completion
from sim.embeddings import embeddings
from sim.scoring import rerank, score
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site

_ABSENT: Final = msgspec.Raw(b"null")


class AnyRequest(msgspec.Struct):
    """The fields that tell endpoints apart."""

    messages: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    text_1: msgspec.Raw = _ABSENT
    queries: msgspec.Raw = _ABSENT
    data_1: msgspec.Raw = _ABSENT
    query: msgspec.Raw = _ABSENT


_MEANT: Final = (
    ("messages", chat),
    ("input", embeddings),
    ("text_1", score),
    ("queries", score),
    ("data_1", score),
    ("query", rerank),
)


def invocations(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/invocations`."""
    body = site.read(AnyRequest, request)
    answer = next((answer for field, answer in _MEANT if bytes(getattr(body, field)) != b"null"), completion)
    return answer(site, request, connection)
