"""What chat and completions share: `model`, `stream`, `stream_options`, `n`, `user`."""

from collections.abc import Callable
from typing import Final

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.dialects.body import TRUE, Members, flag, number, put_together, strip, take_apart, text
from proxy.dialects.media import unname
from proxy.sse import Fingerprint, StreamWatcher
from proxy.unary import UnaryWatcher
from proxy.watch import Watcher

MAX_MODEL: Final = 512
MAX_CHOICES: Final = 1 << 16  # vLLM's own bound
_MESSAGES: Final = ("messages",)


def read(asked: Asked, prompts: Callable[[Members], int]) -> Call:
    """Read a request that generates text; `prompts` counts the prompts in its members. Raises BadRequestError."""
    members = take_apart(asked.body)
    model = text(members, "model")
    if model is not None and len(model) > MAX_MODEL:
        raise BadRequestError(f"`model` is longer than {MAX_MODEL} characters")
    stream = flag(members, "stream") or False
    choices = number(members, "n")
    if choices is None:
        choices = 1
    if not 1 <= choices <= MAX_CHOICES:
        raise BadRequestError(f"`n` must be between 1 and {MAX_CHOICES}")
    inputs = prompts(members)
    end_user = text(members, "user")
    strip(members, asked)
    unname(members, asked.body, _MESSAGES)
    members["cache_salt"] = msgspec.Raw(b'"' + asked.salt.encode() + b'"')
    keep_usage, keep_continuous = ask_for_usage(members) if stream else (False, False)
    return Call(
        body=put_together(members),
        model=model,
        stream=stream,
        end_user=end_user[:2048] if end_user else None,
        inputs=inputs,
        choices=choices * inputs,
        keep_usage=keep_usage,
        keep_continuous=keep_continuous,
    )


def ask_for_usage(members: Members) -> tuple[bool, bool]:
    """Ask vLLM for usage in every event; return what of it the client had asked for."""
    given = members.get("stream_options")
    options: Members = {} if given is None or bytes(given) == b"null" else take_apart(bytes(given), "`stream_options`")
    usage = flag(options, "include_usage") or False
    continuous = flag(options, "continuous_usage_stats") or False
    if not (usage and continuous):
        options["include_usage"] = options["continuous_usage_stats"] = TRUE
        members["stream_options"] = msgspec.Raw(put_together(options))
    return usage, continuous


def watch(call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
    """Return a watcher for the answer to a request that generates text."""
    if not events:
        return UnaryWatcher()
    return StreamWatcher(call.choices // call.inputs, call.inputs, call.keep_usage, call.keep_continuous, fingerprint)
