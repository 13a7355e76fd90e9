"""Recorded exchanges with real vLLM, as the tests use them."""

import json  # noqa: TID251  # bytes that are no UTF-8 stand as lone surrogates, which msgspec refuses
import re
from pathlib import Path
from typing import Any

import msgspec

from tests.proxy.fakes import KEY

_CONNECTION = {b"host", b"authorization", b"content-length"}
FOLDER = Path(__file__).parents[1] / "transcripts"
GENERATION = ("/v1/chat/completions", "/v1/completions")
_ID = re.compile(rb'"(?:chatcmpl|cmpl)-[0-9a-f]+"')
_CREATED = re.compile(rb'"created":\d+')


class Recorded(msgspec.Struct):
    """One exchange; bodies are bytes."""

    name: str
    method: str
    path: str
    asked: list[tuple[bytes, bytes]]
    """The request's headers."""
    request: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    cut: bool

    @property
    def streamed(self) -> bool:
        return any(value.startswith(b"text/event-stream") for name, value in self.headers if name == b"content-type")

    def wire_request(self) -> bytes:
        """Return the request as a client of the proxy sends it."""
        lines = [b"%b %b HTTP/1.1" % (self.method.encode(), self.path.encode()), b"Host: llm.example"]
        lines += [name + b": " + value for name, value in self.asked if name.lower() not in _CONNECTION]
        lines += [b"Authorization: Bearer " + KEY, b"Content-Length: %d" % len(self.request)]
        return b"\r\n".join([*lines, b"", self.request])

    def wire(self, body: bytes | None = None, chunk: int = 0) -> bytes:
        """Return the answer as it stands on the wire; a stream has one chunk an event, or chunks of `chunk` bytes."""
        body = self.body if body is None else body
        fields = [(name, value) for name, value in self.headers if name != b"connection"]
        head = b"HTTP/1.1 %d Whatever\r\n" % self.status + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"
        if (b"transfer-encoding", b"chunked") not in self.headers:
            return head + body
        size = chunk or (0 if self.streamed else 512)
        pieces = [body[i : i + size] for i in range(0, len(body), size)] if size else events(body)
        return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def load(name: str) -> Recorded:
    """Read one."""
    raw: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    request, response = raw["request"], raw["response"]
    return Recorded(
        name=name,
        method=request["method"],
        path=request["path"],
        asked=[(name.encode(), value.encode()) for name, value in request["headers"].items()],
        request=request["body"].encode("utf-8", "surrogateescape"),
        status=response["status"],
        headers=[(key.encode(), value.encode()) for key, value in response["headers"]],
        body=response["body"].encode("utf-8", "surrogateescape"),
        cut="client_closed_after_bytes" in raw,
    )


def generation() -> list[Recorded]:
    """Return all that ask for chat or completions."""
    return [one for one in every() if one.method == "POST" and one.path in GENERATION]


def every() -> list[Recorded]:
    """Return all that there are."""
    return [load(path.stem) for path in sorted(FOLDER.glob("*.json"))]


def events(body: bytes) -> list[bytes]:
    """Cut a stream into its events."""
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


def nameless(body: bytes) -> bytes:
    """Blank ids and times, which differ between two recordings of the same request."""
    return _CREATED.sub(b'"created":0', _ID.sub(b'"-"', body))


def with_usage(plain: bytes, prompt: int) -> bytes:
    """Return what vLLM sends in place of a stream without usage when it is asked for usage in every event.

    Holds for one choice and one token an event, as recorded.
    """
    out: list[bytes] = []
    tokens, fingerprint = 0, b""
    chat = b"chat.completion" in plain
    details = b',"completion_tokens_details":null' if chat else b""
    for event in events(plain):
        if b"[DONE]" in event:
            head = event if not out else out[-1][: out[-1].index(b'"choices":')]
            total = b'"choices":[],"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d' % (
                prompt,
                prompt + tokens,
                tokens,
            )
            out.append(head + total + b',"prompt_tokens_details":{"cached_tokens":0}}' + fingerprint + b"}\n\n")
            out.append(event)
            continue
        tokens += 0 if b'"role"' in event else 1
        usage = b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d%b}' % (
            prompt,
            prompt + tokens,
            tokens,
            details,
        )
        mark = re.search(rb',"system_fingerprint":"[^"]*"', event)
        if mark is not None:
            fingerprint = mark[0]
        bare = event.replace(fingerprint, b"") if fingerprint else event
        end = bare.index(b'}],"prompt_token_ids"') + 2 if b'}],"prompt_token_ids"' in bare else bare.rindex(b"}]") + 2
        out.append(bare[:end] + usage + bare[end:])
    return b"".join(out)
