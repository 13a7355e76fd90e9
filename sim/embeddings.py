"""`/v1/embeddings` and `/pooling`, which differ in names only: vectors as numbers, as base64, or as bytes with a header."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import msgspec

from sim import vectors
from sim.answers import Job, Usage
from sim.errors import ApiError
from sim.pooled import PooledRequest, job_of, usage
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site

_BYTES = b"application/octet-stream"


class EmbeddingRequest(PooledRequest, kw_only=True):
    """What is embedded, and in which form."""

    encoding_format: Literal["float", "base64", "bytes", "bytes_only"] = "float"
    dimensions: int | None = None


class Answer(msgspec.Struct, kw_only=True):
    """A whole answer."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[dict[str, Any]]
    usage: Usage


def embeddings(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v1/embeddings`."""
    return _answer(site, request, connection, "embd-", ("embedding", "embedding"))


def pooling(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/pooling` as an embedding model does."""
    return _answer(site, request, connection, "pooling-", ("pooling", "data"))


def _answer(site: Site, request: HttpRequest, connection: Connection, prefix: str, names: tuple[str, str]) -> Answering:
    body = site.read(EmbeddingRequest, request)
    if body.dimensions is not None:
        message = f"Model '{site.models[0]}' does not support Matryoshka embeddings; dimensions must be unset "
        raise ApiError(f"{message}(received dimensions={body.dimensions}).")
    job = job_of(site, request, prefix, body.model, body.prompts())
    made = partial(_vectors, job, site.settings.sim_seed)
    if body.encoding_format in ("bytes", "bytes_only"):
        return site.pool(job, request, lambda: _send_bytes(job, made(), body.encoding_format, connection), connection)
    form: Callable[[list[float]], object] = list if body.encoding_format == "float" else vectors.in_base64
    kind, field = names

    def answer() -> None:
        data = [{"index": index, "object": kind, field: form(numbers)} for index, numbers in enumerate(made())]
        whole = Answer(id=job.id, created=job.created, model=job.model, data=data, usage=usage(job))
        connection.send(200, msgspec.json.encode(whole))

    return site.pool(job, request, answer, connection)


def _vectors(job: Job, seed: int) -> list[list[float]]:
    return [vectors.vector(prompt, seed) for prompt in job.prompts]


def _send_bytes(job: Job, made: list[list[float]], encoding: str, connection: Connection) -> None:
    """Send the vectors one after the other; `bytes` says in a header where each stands, and the usage."""
    connection.open_stream(_BYTES, b"" if encoding == "bytes_only" else b"metadata: %b\r\n" % _metadata(job))
    connection.write(b"".join(map(vectors.raw, made)))
    connection.close_stream()


def _metadata(job: Job) -> bytes:
    width = 4 * vectors.SIZE
    items = [
        f'{{"index": {place}, "embed_dtype": "float32", "endianness": "native", "start": {place * width}, '
        f'"end": {(place + 1) * width}, "shape": [{vectors.SIZE}]}}'
        for place in range(len(job.prompts))
    ]
    size = job.prompt_tokens
    model = msgspec.json.encode(job.model).decode()
    return (
        f'{{"id": "{job.id}", "created": {job.created}, "model": {model}, "data": [{", ".join(items)}], '
        f'"usage": {{"prompt_tokens": {size}, "total_tokens": {size}}}}}'
    ).encode()
