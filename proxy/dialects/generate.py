"""`/inference/v1/generate`: token ids in, token ids out. Choices and untrusted fields stand inside `sampling_params`."""

from typing import Final

import msgspec

from proxy.continuous import ContinuousWatcher
from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import ROUTER, Members, flag, number, put_together, read_json, take_apart
from proxy.dialects.generation import MAX_CHOICES, ask_for_usage
from proxy.dialects.pooling import read_model
from proxy.reported import Reported
from proxy.sse import Fingerprint
from proxy.unary import UnaryWatcher
from proxy.watch import Watcher

_NO_USAGE: Final = b',"usage":null'
"""How vLLM writes an event of this API that has no usage."""
_parts: Final = msgspec.json.Decoder(list[Members]).decode


class Generate:
    """vLLM's own API for tokens."""

    name = "generate"
    takes = Takes(caps=("max_tokens",), default=16, within="sampling_params", ids=("token_ids",))

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        choices = _sampling(members, asked.trusted)
        _media(members)
        stream = flag(members, "stream") or False
        members["cache_salt"] = msgspec.Raw(b'"' + asked.salt.encode() + b'"')
        keep_usage, keep_continuous = ask_for_usage(members) if stream else (False, False)
        return Call(
            body=put_together(members),
            model=read_model(members),
            stream=stream,
            choices=choices,
            keep_usage=keep_usage,
            keep_continuous=keep_continuous,
        )

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        if not events:
            return _TokensWatcher()
        return ContinuousWatcher(call.choices, call.keep_usage, call.keep_continuous, _NO_USAGE)


def _sampling(members: Members, trusted: bool) -> int:
    """Return the number of choices; take out `extra_args`, where vLLM puts `vllm_xargs` and `kv_transfer_params`.

    The latter stays if a trusted router says it.
    """
    given = members.get("sampling_params")
    if given is None:
        raise BadRequestError("`sampling_params` is missing")
    options = take_apart(bytes(given), "`sampling_params`")
    choices = number(options, "n")
    if choices is None:
        choices = 1
    if not 1 <= choices <= MAX_CHOICES:
        raise BadRequestError(f"`n` must be between 1 and {MAX_CHOICES}")
    extra = options.pop("extra_args", None)
    if extra is not None:
        if trusted and bytes(extra) != b"null":
            named = take_apart(bytes(extra), "`extra_args`").items()
            options["extra_args"] = msgspec.Raw(put_together({name: raw for name, raw in named if name in ROUTER}))
        members["sampling_params"] = msgspec.Raw(put_together(options))
    return choices


def _media(members: Members) -> None:
    """Keep a client from naming media: under its name, vLLM caches what others' requests would then see."""
    features = members.pop("features", None)
    if features is not None and bytes(features) != b"null":
        raise BadRequestError("`features` are not served here: vLLM would believe which media they belong to")
    given = members.get("content_parts")
    if given is None or bytes(given) == b"null":
        return
    try:
        parts = _parts(given)
    except msgspec.DecodeError:
        raise BadRequestError("`content_parts` must be a list of objects") from None
    names = [part.pop("uuid", None) for part in parts]
    if any(name is not None for name in names):
        members["content_parts"] = msgspec.Raw(msgspec.json.encode(parts))


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    request_id: str | None = None
    model: str | None = None
    usage: Reported | None = None
    choices: list[_Choice] = []


_body: Final = msgspec.json.Decoder(_Body).decode


class _TokensWatcher(UnaryWatcher):
    """Watches one whole answer, which names its id `request_id`."""

    __slots__ = ()

    def _understand(self, whole: bytes) -> None:
        body = _body(whole)
        self._reported, self.response_id, self.served_model = body.usage, body.request_id, body.model
        if body.choices:
            self.finish_reason = body.choices[-1].finish_reason
