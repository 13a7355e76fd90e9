"""What requests have in common that are read and not continued: their prompts, the checks, and a usage without output."""

import msgspec

from sim.answers import Job, Usage
from sim.checks import not_empty
from sim.errors import ApiError
from sim.prefix import Prompt
from sim.requests import Message, Wish, template
from sim.server import HttpRequest
from sim.site import Site


class PooledRequest(msgspec.Struct, kw_only=True):
    """An input, or a chat in its place. An input is a text or several, ids or several lists of them, a chat or several."""

    model: str | None = None
    input: str | list[str | int | Message | list[int | Message]] | None = None
    messages: list[Message | list[Message]] | None = None

    def prompts(self) -> list[Prompt]:
        """Return the prompts in order; raises ApiError where there is none."""
        given = self.input if self.messages is None else self.messages
        if given is None:
            detail = "{'type': 'missing', 'loc': 'body.input', 'msg': 'Field required', 'input': '<dict>'}"
            raise ApiError(f"1 validation error:\n  {detail}", "Bad Request", "body.input", early=True)
        if isinstance(given, str):
            return [text_prompt(given)]
        if any(isinstance(item, int | Message) for item in given):
            return [_prompt(given)]
        return many([text_prompt(item) if isinstance(item, str) else _prompt(item) for item in given])


def text_prompt(text: str) -> Prompt:
    """Return the prompt of a text; raises ApiError if it is empty."""
    if not text:
        raise ApiError("The decoder prompt cannot be empty")
    return Prompt(text.encode())


def many(prompts: list[Prompt]) -> list[Prompt]:
    """Return the prompts; raises ApiError if there is none."""
    if not prompts:
        raise ApiError("You must pass at least one prompt")
    return prompts


def _prompt(given: object) -> Prompt:
    """Return the prompt of one list of ids or of one chat."""
    assert isinstance(given, list)
    if given and all(isinstance(item, int) for item in given):
        return Prompt(given)
    chat = [item for item in given if isinstance(item, Message)]
    not_empty(chat)
    return Prompt(template(chat))


def job_of(site: Site, request: HttpRequest, prefix: str, model: str | None, prompts: list[Prompt]) -> Job:
    """Return the job of reading some prompts; raises ApiError for a model that is not served."""
    if model and model not in site.models:
        raise ApiError(f"The model `{model}` does not exist.", "NotFoundError", status=404)
    return site.job(prefix, request, prompts, Wish())


def usage(job: Job) -> Usage:
    """Return the usage of prompts alone."""
    size = job.prompt_tokens
    return Usage(
        prompt_tokens=size,
        total_tokens=size,
        completion_tokens=0,
        prompt_tokens_details=None,
        completion_tokens_details=None,
    )
