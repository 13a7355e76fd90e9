"""`/v1/chat/completions/batch`: several chats in one request, one choice each, never streamed."""

import msgspec

from sim.answers import Usage, totals
from sim.chat import ChatFormat
from sim.checks import sampling, served_here
from sim.errors import ApiError, invalid
from sim.prefix import Prompt
from sim.requests import ChatFields, Message, template
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


class BatchRequest(ChatFields, kw_only=True):
    """Several chats, and what all of them share."""

    messages: list[list[Message]]

    def prompts(self) -> list[Prompt]:
        """Return a prompt for each chat."""
        return [Prompt(template(chat), self.cache_salt or "") for chat in self.messages]


def batch(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v1/chat/completions/batch`."""
    body = site.read(BatchRequest, request)
    if body.n is not None and body.n != 1:
        message = "Batch chat completions do not support `n > 1`. Please set `n` to 1."
        raise invalid(message, "n", body.n)
    if not body.messages or not all(body.messages):
        message = "1 validation error:\n  {'type': 'too_short', 'loc': 'body.messages'}"
        raise ApiError(message, "Bad Request", "body.messages", early=True)
    served_here(body.model, site.models)
    sampling(body.n, body.temperature)
    wish = msgspec.structs.replace(body.wish, stream=False)
    job = site.job("chatcmpl-", request, body.prompts(), wish)
    return site.generate(job, request, lambda job: BatchFormat(job, body), connection)


class BatchFormat(ChatFormat):
    """Writes a choice for each chat; prompts and the cache's part in them are not told."""

    def usage(self) -> Usage:
        """Return the sums of all chats."""
        usage = totals(self.job)
        usage.prompt_tokens_details = usage.completion_tokens_details = None
        return usage

    def prompt_ids(self) -> None:
        """Return nothing: several prompts have no place in the answer."""
