"""Score and rerank as an embedding model does them: each text is read once, and likeness is the cosine of two vectors."""

from itertools import repeat

import msgspec

from sim import vectors
from sim.answers import Job
from sim.embeddings import Answer
from sim.errors import ApiError
from sim.pooled import job_of, text_prompt, usage
from sim.prefix import Prompt
from sim.requests import Part
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


class Parts(msgspec.Struct):
    """A text in parts."""

    content: list[Part]


Texts = str | Parts | list[str | Parts]


class ScoreRequest(msgspec.Struct, kw_only=True):
    """Two sides, under one of the pairs of names that vLLM takes."""

    model: str | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None


class RerankRequest(msgspec.Struct, kw_only=True):
    """A query and what is ranked by it; `top_n` 0 is all."""

    model: str | None = None
    query: str | Parts
    documents: Texts
    top_n: int = 0


def score(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/score` and `/v1/score`."""
    body = site.read(ScoreRequest, request)
    one = _first(body.queries, body.text_1, body.data_1)
    other = _first(body.documents, body.items, body.text_2, body.data_2)
    if len(one) not in (1, len(other)):
        raise ApiError("Input lengths must be either 1:1, 1:N or N:N")
    job = job_of(site, request, "score-", body.model, one + other)

    def answer() -> None:
        likenesses = _likenesses(job, len(one), site.settings.sim_seed)
        data = [{"index": index, "object": "score", "score": value} for index, value in enumerate(likenesses)]
        whole = Answer(id=job.id, created=job.created, model=job.model, data=data, usage=usage(job))
        connection.send(200, msgspec.json.encode(whole))

    return site.pool(job, request, answer, connection)


def rerank(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/rerank` in its three versions, which are one."""
    body = site.read(RerankRequest, request)
    documents = _list(body.documents)
    job = job_of(site, request, "score-", body.model, _prompts(body.query) + _prompts(body.documents))

    def answer() -> None:
        ranked = sorted(enumerate(_likenesses(job, 1, site.settings.sim_seed)), key=lambda pair: -pair[1])
        results = [
            {"index": index, "document": _document(documents[index]), "relevance_score": value}
            for index, value in ranked
        ]
        size = job.prompt_tokens
        whole = {
            "id": job.id,
            "model": job.model,
            "usage": {"prompt_tokens": size, "total_tokens": size},
            "results": results[: body.top_n or None],
        }
        connection.send(200, msgspec.json.encode(whole))

    return site.pool(job, request, answer, connection)


def _likenesses(job: Job, ones: int, seed: int) -> list[float]:
    made = [vectors.vector(prompt, seed) for prompt in job.prompts]
    one = repeat(made[0]) if ones == 1 else made[:ones]
    return [vectors.likeness(a, b) for a, b in zip(one, made[ones:], strict=False)]


def _first(*sides: Texts | None) -> list[Prompt]:
    """Return the prompts of the side that is given."""
    for side in sides:
        if side is not None:
            prompts = _prompts(side)
            if not prompts:
                raise ApiError("At least one text_pair element must be given")
            return prompts
    raise ApiError("1 validation error:\n  {'type': 'missing', 'msg': 'Field required'}", "Bad Request", early=True)


def _list(given: Texts) -> list[str | Parts]:
    return given if isinstance(given, list) else [given]


def _prompts(given: Texts) -> list[Prompt]:
    return [text_prompt(item if isinstance(item, str) else _text(item)) for item in _list(given)]


def _text(parts: Parts) -> str:
    return "\n".join(part.text for part in parts.content if part.text is not None)


def _document(given: str | Parts) -> dict[str, object]:
    whole = isinstance(given, str)
    return {"text": given if whole else None, "multi_modal": None if isinstance(given, str) else given.content}
