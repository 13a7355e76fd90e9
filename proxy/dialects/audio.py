"""`/v1/audio/transcriptions` and `/v1/audio/translations`: forms with a sound file.

| answer | usage |
| --- | --- |
| transcription | seconds of audio, rounded up by vLLM |
| `response_format=verbose_json` | `duration`, which we round up in the same way |
| a stream | tokens, asked for by us and taken out again |
| another translation | none: it is refused, since it could not be billed |
"""

import math
import re
from typing import Final

import msgspec

from proxy import form
from proxy.continuous import ContinuousWatcher
from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import untrusted
from proxy.dialects.generation import MAX_MODEL
from proxy.form import Part
from proxy.reported import Reported
from proxy.sse import Fingerprint
from proxy.tokens import Tokens
from proxy.watch import Watcher
from proxy.whole import Found, WholeWatcher

_INCLUDE: Final = "stream_include_usage"
_CONTINUOUS: Final = "stream_continuous_usage_stats"
_FLAGS: Final = dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True) | dict.fromkeys(
    ("0", "off", "f", "false", "n", "no", ""), False
)
"""What vLLM reads in a form as true and false."""


class Audio:
    """One of the two paths. `always_reports`: vLLM says how long the audio was, whatever format it answers in."""

    takes = Takes(sound=True)

    def __init__(self, name: str, always_reports: bool) -> None:
        self.name = name
        self._always_reports = always_reports

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        boundary = form.boundary_of(asked.content_type)
        unfit = untrusted(asked)
        parts = [part for part in form.take_apart(asked.body, boundary) if part.name.partition("[")[0] not in unfit]
        fields = _fields(parts)
        stream, usage, continuous = (_flag(fields, name) for name in ("stream", _INCLUDE, _CONTINUOUS))
        model = fields.get("model") or None
        if model is not None and len(model) > MAX_MODEL:
            raise BadRequestError(f"`model` is longer than {MAX_MODEL} characters")
        if stream:
            parts = [part for part in parts if part.name not in (_INCLUDE, _CONTINUOUS)]
            parts += [Part(_INCLUDE, b"true"), Part(_CONTINUOUS, b"true")]
        elif not self._always_reports and fields.get("response_format") != "verbose_json":
            raise BadRequestError(
                "a translation needs `stream=true` or `response_format=verbose_json`: vLLM reports no usage for others"
            )
        return Call(
            body=form.put_together(parts, boundary),
            model=model,
            stream=stream,
            keep_usage=stream and usage,
            keep_continuous=stream and continuous,
        )

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return ContinuousWatcher(1, call.keep_usage, call.keep_continuous, b"") if events else _AudioWatcher()


def _fields(parts: list[Part]) -> dict[str, str]:
    """Return the fields that stand once; of one that stands twice, vLLM may believe another."""
    fields: dict[str, str] = {}
    seen: set[str] = set()
    for part in parts:
        if part.name.endswith("[]"):
            continue
        if part.name in seen:
            raise BadRequestError(f"the form has `{part.name}` twice")
        seen.add(part.name)
        if part.filename is None:
            fields[part.name] = _text(part)
    return fields


def _text(part: Part) -> str:
    try:
        return part.content.decode()
    except UnicodeDecodeError:
        raise BadRequestError(f"`{part.name}` is not UTF-8") from None


def _flag(fields: dict[str, str], name: str) -> bool:
    found = _FLAGS.get(fields.get(name, "").lower())
    if found is None:
        raise BadRequestError(f"`{name}` must be true or false")
    return found


class _Usage(msgspec.Struct):
    seconds: float | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None
    duration: float | None = None


_answer: Final = msgspec.json.Decoder(_Answer).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode
_DURATION: Final = re.compile(rb'\{"duration":([0-9.]+)[,}]')


class _AudioWatcher(WholeWatcher):
    """Watches one whole answer: of a long one, `duration` stands in the beginning."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_read_answer, _read_usage)

    def _search(self, seen: bytes) -> Reported | None:
        match = _DURATION.match(seen) if self._tokens is None else None
        if match is not None:
            self._tokens = _seconds(float(match[1]))
        return super()._search(seen)


def _read_answer(body: bytes) -> Found:
    answer = _answer(body)
    reported = answer.usage.seconds if answer.usage is not None else None
    seconds = answer.duration if reported is None else reported
    return Found(_seconds(seconds) if seconds is not None else None)


def _read_usage(usage: bytes) -> Tokens:
    seconds = _usage(usage).seconds
    return _seconds(seconds) if seconds is not None else Tokens()


def _seconds(seconds: float) -> Tokens:
    return Tokens(audio_seconds=float(math.ceil(seconds)))


TRANSCRIPTIONS: Final = Audio("transcriptions", always_reports=True)
TRANSLATIONS: Final = Audio("translations", always_reports=False)
