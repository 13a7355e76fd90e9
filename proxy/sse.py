"""Usage in a stream of server-sent events, and how what was asked for behind the client's back is taken out again.

vLLM is always asked for usage in every event (`continuous_usage_stats`), so that a stream that is cut is billed by what it
had counted. The client gets the bytes that vLLM would have sent for the client's own `stream_options`:

| the client asked for | usage in events with choices | the event with usage alone | `system_fingerprint` |
| --- | --- | --- | --- |
| neither | removed | removed | moved from the usage event to the events with a finish reason |
| `include_usage` | removed | kept | stays |
| both | kept | kept | stays |

Usage counts are cumulative: each replaces the one before. Events that can only carry text are not parsed.
"""

import re
from typing import Final

import msgspec

from proxy.answers import Choice, Chunk, decode_chunk
from proxy.reported import Reported
from proxy.tokens import Count
from proxy.usage import LOOSE_MEMBER, MEMBER, last_reported, per_choice, tokens
from proxy.watch import Watcher

MAX_EVENT: Final = 32 << 20
_MAX_HELD: Final = 256 << 10


class StreamError(Exception):
    """The upstream sent an event that is too large to be one."""


_ENDS: Final = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


class Fingerprint:
    """The `system_fingerprint` that one upstream last sent: None not known yet, empty when it sends none."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: bytes | None = None


class StreamWatcher(Watcher):
    """Watches one stream.

    Args:
        choices: choices of each prompt (`n`).
        prompts: prompts of the request; a stream of one choice in all takes the fast way.
        keep_usage: the client asked for `include_usage`.
        keep_continuous: the client asked for `continuous_usage_stats` too.
        fingerprint: what is known of the upstream's, shared by its streams.

    """

    __slots__ = (
        "_choices",
        "_edge",
        "_fingerprint",
        "_held",
        "_keep_continuous",
        "_keep_usage",
        "_latest",
        "_prompts",
        "_rest",
        "_rest_size",
        "_single",
        "_tail",
        "_total",
    )

    def __init__(
        self, choices: int, prompts: int, keep_usage: bool, keep_continuous: bool, fingerprint: Fingerprint
    ) -> None:
        super().__init__()
        self._choices = choices
        self._prompts = prompts
        self._single = choices * prompts == 1
        self._keep_usage = keep_usage
        self._keep_continuous = keep_usage and keep_continuous
        self._fingerprint = fingerprint
        self._rest: list[bytes] = []  # the beginning of an event whose end has not come
        self._rest_size = 0
        self._edge = b""  # the last bytes of what is left over: an end may be cut
        self._tail = b""  # events of the fast way, the last of which says the latest count
        self._latest: dict[int, Reported] = {}  # by choice, of events that were parsed
        self._total: Reported | None = None  # the event with usage alone
        self._held: list[bytes] = []  # events that wait for the fingerprint

    def feed(self, data: bytes, last: bool) -> bytes:
        """Return the whole events that came, as the client is to see them. Raises StreamError."""
        if self._rest or not data.endswith(b"\n\n"):
            data = self._whole_events(data)
        if last:
            data += b"".join(self._rest)
            self._rest.clear()
        if self._is_text(data):
            return self._text(data)
        out = b"".join([self._text(event) if self._is_text(event) else self._event(event) for event in _split(data)])
        return out + self._release(b"") if last else out

    def _is_text(self, data: bytes) -> bool:
        """Return whether whole events of the only choice carry text and a count, and nothing else that matters here."""
        return (
            self._single
            and self.began
            and not self._held
            and data.count(b'"choices":[{') == data.count(b"data: ")
            and data.find(b'"finish_reason":"')
            < 0  # `in` costs an exception: it asks first whether it is given a number
        )

    def _text(self, data: bytes) -> bytes:
        if data.find(b'"usage":{') >= 0:
            self._tail = data
        return data if self._keep_continuous else MEMBER.sub(b"", data)

    def count(self) -> Count | None:
        """Return the total, or else the sum of what each choice reported last."""
        if self._total is not None:
            return Count(tokens(self._total), whole=True)
        if self._tail:
            reported = last_reported(self._tail)
            if reported is not None:
                self._latest[0] = reported
        if not self._latest:
            return None
        seen = {index // self._choices for index in self._latest}
        return Count(per_choice(self._latest, self._choices), whole=len(seen) >= self._prompts)

    def _whole_events(self, data: bytes) -> bytes:
        """Join with what was left over, keep what is not whole yet. Looks only at what is new for an end."""
        fresh = self._edge + data
        if fresh.find(b"\n\n") >= 0 or fresh.find(b"\r\n\r\n") >= 0:
            data = b"".join(self._rest) + data
            self._rest.clear()
            self._rest_size = 0
            end = max(data.rfind(mark) + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if mark in data)
            data, left = data[:end], data[end:]
            self._edge = left[-3:]
        else:
            data, left = b"", data
            self._edge = fresh[-3:]
        if left:
            self._rest.append(left)
            self._rest_size += len(left)
            if self._rest_size > MAX_EVENT:
                raise StreamError(f"an event of more than {MAX_EVENT} bytes")
        return data

    def _event(self, event: bytes) -> bytes:
        payload = event[5:].strip() if event.startswith(b"data:") else b""
        if not payload:  # a comment, or fields that carry no data
            return self._pass(event)
        if payload == b"[DONE]":
            self.finished = True
            return self._release(b"") + event
        try:
            chunk = decode_chunk(payload)
        except (ValueError, RecursionError):
            return self._pass(event)
        self.began = True
        if bytes(chunk.error) != b"null":
            self.failed = True
            return self._release(b"") + event
        self.response_id = self.response_id or chunk.id
        self.served_model = self.served_model or chunk.model
        if not chunk.choices:
            return self._usage_alone(event, chunk)
        return self._with_choices(event, chunk, chunk.choices)

    def _usage_alone(self, event: bytes, chunk: Chunk) -> bytes:
        if chunk.usage is None:
            return self._pass(event)
        self._total = chunk.usage
        self._fingerprint.value = (chunk.system_fingerprint or "").encode()
        return self._release(self._fingerprint.value) + (event if self._keep_usage else b"")

    def _with_choices(self, event: bytes, chunk: Chunk, choices: list[Choice]) -> bytes:
        if chunk.usage is not None:
            self._latest[0 if self._single else choices[0].index] = chunk.usage
            self._tail = b""
        ended = choices[0].finish_reason is not None
        if ended:
            self.finish_reason = choices[0].finish_reason
        if self._keep_usage:
            return event if self._keep_continuous else LOOSE_MEMBER.sub(b"", event)
        if ended and chunk.system_fingerprint is None:
            known = self._fingerprint.value
            if self._single or known is None:  # the usage event follows at once, or nobody knows yet
                return self._hold(event)
            return self._pass(_stamp(event, known))
        return self._pass(LOOSE_MEMBER.sub(b"", event))

    def _hold(self, event: bytes) -> bytes:
        self._held.append(event)
        return self._release(b"") if sum(map(len, self._held)) > _MAX_HELD else b""

    def _pass(self, event: bytes) -> bytes:
        """Send an event on, after those that wait."""
        return self._hold(event) if self._held else event

    def _release(self, fingerprint: bytes) -> bytes:
        held, self._held = self._held, []
        return b"".join([_stamp(event, fingerprint) for event in held])


def _stamp(event: bytes, fingerprint: bytes) -> bytes:
    """Put the fingerprint where vLLM puts it in an event with a finish reason: where the usage stood."""
    if fingerprint and b'"finish_reason":"' in event:
        member = b',"system_fingerprint":' + msgspec.json.encode(fingerprint.decode())
        return LOOSE_MEMBER.sub(member.replace(b"\\", rb"\\"), event)
    return LOOSE_MEMBER.sub(b"", event)


def _split(data: bytes) -> list[bytes]:
    """Cut bytes into events, each with the empty line that ends it."""
    if data.find(b"\r\n\r\n") >= 0:
        return [event for event in _ENDS.split(data) if event]
    *events, rest = data.split(b"\n\n")
    return [event + b"\n\n" for event in events] + ([rest] if rest else [])
