"""`/tokenize` and `/detokenize`: what the simulator's tokenizer makes of a text, without the engine."""

import msgspec

from sim import tokens
from sim.checks import served_here
from sim.requests import Message, template
from sim.server import Connection, HttpRequest
from sim.site import Site


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """A prompt or a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """Ids to be written as text."""

    model: str | None = None
    tokens: list[int]


def tokenize(site: Site, request: HttpRequest, connection: Connection) -> None:
    """Answer `/tokenize`."""
    body = site.read(TokenizeRequest, request)
    served_here(body.model, site.models)
    text = (body.prompt or "").encode() if body.messages is None else template(body.messages)
    ids = tokens.encode(text)
    shown = {
        "count": len(ids),
        "max_model_len": site.settings.sim_max_model_len,
        "tokens": ids,
        "token_strs": [tokens.decode([token]) for token in ids] if body.return_token_strs else None,
    }
    connection.send(200, msgspec.json.encode(shown))


def detokenize(site: Site, request: HttpRequest, connection: Connection) -> None:
    """Answer `/detokenize`."""
    body = site.read(DetokenizeRequest, request)
    served_here(body.model, site.models)
    connection.send(200, msgspec.json.encode({"prompt": tokens.decode(body.tokens)}))
