"""`/v1/audio/transcriptions` and translations: what a Whisper model makes of a file, here by its length alone.

The engine reads the decoder's few prompt tokens for each window of half a minute. A stream's usage shows those of one window
and the audio, a hundred tokens a second, which vLLM's counter leaves out. A whole answer tells seconds only, a translation
nothing.
"""

import math
import struct
from collections import deque
from typing import Any, Final

import msgspec

from sim import form
from sim.answers import DONE, Job, broken
from sim.checks import sampling, served_here
from sim.engine import Choice, FinishReason
from sim.errors import ApiError, invalid
from sim.prefix import Prompt
from sim.requests import Wish
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site

_DECODER_PROMPT: Final = (50258, 50259, 50359, 50363)
"""Start of transcript, language, task, no timestamps."""
_TOKENS_A_SECOND: Final = 100
_WINDOW: Final = 30
"""Seconds that a model hears at once."""
_BYTES_A_SECOND: Final = 16_000
"""Of a file that is no WAV: an MP3 of 128 kbit/s."""


class AudioRequest(msgspec.Struct, kw_only=True):
    """A form's fields beside the file."""

    model: str | None = None
    prompt: str = ""
    language: str | None = None
    response_format: str = "json"
    stream: bool = False
    stream_include_usage: bool = False
    stream_continuous_usage_stats: bool = False
    max_completion_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None


def transcribe(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v1/audio/transcriptions`."""
    return _answer(site, request, connection, "transcription")


def translate(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v1/audio/translations`."""
    return _answer(site, request, connection, "translation")


def seconds_of(audio: bytes) -> float:
    """Return how long a file plays: by its head if it is a WAV, else by its size."""
    if audio[:4] == b"RIFF" and audio[8:12] == b"WAVE" and len(audio) >= 44:
        rate: int = struct.unpack_from("<I", audio, 28)[0]
        return (len(audio) - 44) / (rate or _BYTES_A_SECOND)
    return len(audio) / _BYTES_A_SECOND


def _answer(site: Site, request: HttpRequest, connection: Connection, task: str) -> Answering:
    fields = form.read(request.headers.get(b"content-type", b""), request.body)
    audio = fields.pop("file", None)
    if audio is None:
        message = (
            "1 validation error:\n  {'type': 'missing', 'loc': 'body.file', 'msg': 'Field required', 'input': None}"
        )
        raise ApiError(message, "Bad Request", "body.file", early=True)
    body = _read(fields)
    served_here(body.model, site.models)
    if body.response_format not in ("json", "text", "verbose_json"):
        formats = "`text`, `json`, `verbose_json` or `diarized_json`"
        raise ApiError(f"Currently only support response_format: {formats}")
    if body.stream and body.response_format == "verbose_json":
        raise ApiError("verbose_json format doesn't support streaming case")
    sampling(None, body.temperature)
    prompt = Prompt([*_DECODER_PROMPT, *Prompt(body.prompt.encode()).ids])
    wish = Wish(stream=body.stream, max_tokens=body.max_completion_tokens, seed=body.seed)
    seconds = seconds_of(audio)
    prompts = [prompt] * max(math.ceil(seconds / _WINDOW), 1)
    job = site.job(f"{'transcribe' if task == 'transcription' else 'translate'}-", request, prompts, wish)
    return site.generate(job, request, lambda job: AudioFormat(job, body, task, seconds), connection)


def _read(fields: dict[str, bytes]) -> AudioRequest:
    """Return the fields as what they mean; raises ApiError."""
    try:
        body = msgspec.convert({name: value.decode() for name, value in fields.items()}, AudioRequest, strict=False)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ApiError(f"1 validation error:\n  {error}", "Bad Request", early=True) from None
    for option in ("stream_include_usage", "stream_continuous_usage_stats"):
        if getattr(body, option) and not body.stream:
            raise invalid("Stream options can only be defined when `stream=True`.", option)
    return body


class AudioFormat:
    """Writes what was heard, window after window, although the engine hears all of them at once."""

    def __init__(self, job: Job, request: AudioRequest, task: str, seconds: float) -> None:
        self._job = job
        self._request = request
        self._task = task
        self._seconds = seconds
        self._prompt = job.prompts[0].size + math.ceil(seconds * _TOKENS_A_SECOND)
        self._continuous = request.stream_include_usage and request.stream_continuous_usage_stats
        self._held: list[deque[tuple[str, FinishReason | None, str | None]]] = [deque() for _ in job.choices]
        self._window = 0
        self._told = 0
        self._silent = True

    def opening(self) -> bytes:
        """Return nothing: a stream starts with its first token."""
        return b""

    def event(self, choice: Choice, text: str) -> bytes:
        """Return the chunks that are due by now; nothing while an earlier window is not told to its end."""
        self._held[choice.index].append((text, choice.finish, choice.stop))
        chunks = b""
        while self._window < len(self._held) and (held := self._held[self._window]):
            chunks += self._tell(*held.popleft())
        return chunks

    def closing(self) -> bytes:
        """Return the chunk with the sums, if it is asked for, and the end mark."""
        return (self._chunk([], usage=True) if self._request.stream_include_usage else b"") + DONE

    def failure(self, error: ApiError) -> bytes:
        """Return the error and the end mark."""
        return broken(error)

    def keep(self, choice: Choice) -> None:
        """Do nothing: the choice holds its text."""

    def body(self) -> bytes:
        """Return the whole answer: JSON in every format, also in `text`."""
        text = " ".join(choice.text for choice in self._job.choices)
        if self._request.response_format == "verbose_json":
            segments = [_segment(choice, self._seconds) for choice in self._job.choices]
            language = self._request.language or "en"
            whole = {"duration": self._seconds, "language": language, "text": text, "segments": segments, "words": None}
            return msgspec.json.encode(whole)
        if self._task == "translation":
            return msgspec.json.encode({"text": text})
        usage = {"type": "duration", "seconds": math.ceil(self._seconds)}
        return msgspec.json.encode({"text": text, "usage": usage})

    def _tell(self, text: str, finish: FinishReason | None, stop: str | None) -> bytes:
        """Return a token's chunk; nothing when it shows nothing and is not its window's last."""
        self._told += 1
        if text and self._silent:
            text, self._silent = f"{' ' if self._window else ''}{text}", False
        shown: dict[str, Any] = {"delta": {"content": text}}
        if finish is not None:
            shown |= {"finish_reason": finish, "stop_reason": stop}
            self._window, self._silent = self._window + 1, True
        return self._chunk([shown], usage=self._continuous) if text or finish is not None else b""

    def _chunk(self, choices: list[dict[str, Any]], *, usage: bool) -> bytes:
        job = self._job
        chunk: dict[str, Any] = {
            "id": job.id,
            "object": f"{self._task}.chunk",
            "created": job.created,
            "model": self._request.model or job.model,
            "choices": choices,
        }
        if usage:
            figures = {"prompt_tokens": self._prompt, "total_tokens": self._prompt + self._told}
            chunk["usage"] = {**figures, "completion_tokens": self._told}
        return b"data: %b\n\n" % msgspec.json.encode(chunk)


def _segment(choice: Choice, seconds: float) -> dict[str, Any]:
    start = float(choice.index * _WINDOW)
    return {
        "id": choice.index,
        "avg_logprob": -0.5,
        "compression_ratio": 1.0,
        "end": min(start + _WINDOW, seconds),
        "no_speech_prob": None,
        "seek": int(start),
        "start": start,
        "temperature": 1.0,
        "text": choice.text,
        "tokens": Prompt(choice.text.encode()).ids,
    }
