"""`/v2/embed`, Cohere's way to ask for embeddings: several forms at once, and the usage as billed units."""

from typing import Any, Literal

import msgspec

from sim import vectors
from sim.errors import ApiError
from sim.pooled import job_of, many, text_prompt
from sim.prefix import Prompt
from sim.requests import Message, Part, template
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site

Form = Literal["float", "binary", "ubinary", "base64"]


class Input(msgspec.Struct):
    """An input of several parts."""

    content: list[Part]


class EmbedRequest(msgspec.Struct, kw_only=True):
    """Either texts or inputs."""

    model: str | None = None
    texts: list[str] | None = None
    inputs: list[Input] | None = None
    embedding_types: list[Form] | None = None

    def prompts(self) -> list[Prompt]:
        """Return the prompts in order; raises ApiError where there is none."""
        if bool(self.texts) == bool(self.inputs):
            message = "Value error, Exactly one of texts, images, or inputs must be provided, and it must be non-empty"
            raise ApiError(message, "Bad Request", "body", early=True)
        if self.texts:
            return many([text_prompt(text) for text in self.texts])
        return [Prompt(template([Message("user", item.content)])) for item in self.inputs or []]


def embed(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v2/embed`."""
    body = site.read(EmbedRequest, request)
    job = job_of(site, request, "embd-", body.model, body.prompts())

    def answer() -> None:
        made = [vectors.vector(prompt, site.settings.sim_seed) for prompt in job.prompts]
        wanted = body.embedding_types or ["float"]
        shown = {form: _in_form(form, made) for form in ("float", "binary", "ubinary", "base64") if form in wanted}
        billed = {"input_tokens": job.prompt_tokens, "image_tokens": 0}
        whole: dict[str, Any] = {"id": job.id, "embeddings": shown}
        if body.texts:
            whole["texts"] = body.texts
        whole["meta"] = {"api_version": {"version": "2"}, "billed_units": billed}
        whole["response_type"] = "embeddings_by_type"
        connection.send(200, msgspec.json.encode(whole))

    return site.pool(job, request, answer, connection)


def _in_form(form: str, made: list[list[float]]) -> list[Any]:
    if form == "float":
        return made
    if form == "base64":
        return [vectors.in_base64(numbers) for numbers in made]
    return [vectors.bits(numbers, signed=form == "binary") for numbers in made]
