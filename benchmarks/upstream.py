"""The server behind every proxy: answers are made once, so that it costs next to nothing.

    python -m benchmarks.upstream PORT [CHUNKS GAP_SECONDS]

A POST whose body asks for a stream gets CHUNKS events, one every GAP_SECONDS; any other gets a chat's answer; a GET gets what
a proxy asks a vLLM server for.
"""

import asyncio
import sys
from typing import Final

import msgspec
import uvloop

WORDS: Final = "forty words that weigh about as much as an answer of sixty-four tokens does " * 4


def _answer(content_type: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-length: %d\r\ncontent-type: %b\r\n\r\n"
    return head % (len(body), content_type) + body


def _chunk(event: bytes) -> bytes:
    framed = b"data: %b\n\n" % event
    return b"%x\r\n%b\r\n" % (len(framed), framed)


def unary_answer() -> bytes:
    """Return a whole chat answer with its head."""
    message = {"role": "assistant", "content": WORDS, "refusal": None, "function_call": None, "reasoning": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length", "stop_reason": None}
    usage = {"prompt_tokens": 22, "total_tokens": 86, "completion_tokens": 64, "prompt_tokens_details": None}
    body = {"id": "chatcmpl-b6cbe46807640950", "object": "chat.completion", "created": 1795219588, "model": "tiny"}
    return _answer(b"application/json", msgspec.json.encode({**body, "choices": [choice], "usage": usage}))


def stream_events(count: int) -> list[bytes]:
    """Return the chunks of a stream, each with usage, then the sums and the end."""
    common = {
        "id": "chatcmpl-a5ef4ed0024d8a9d",
        "object": "chat.completion.chunk",
        "created": 1795219588,
        "model": "tiny",
    }

    def usage(tokens: int) -> dict[str, int]:
        return {"prompt_tokens": 22, "total_tokens": 22 + tokens, "completion_tokens": tokens}

    choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None, "token_ids": None}
    events = [{**common, "choices": [choice], "usage": usage(number)} for number in range(1, count + 1)]
    last = _chunk(msgspec.json.encode({**common, "choices": [], "usage": usage(count)})) + _chunk(b"[DONE]")
    return [*(_chunk(msgspec.json.encode(event)) for event in events), last + b"0\r\n\r\n"]


HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
GETS: Final = {
    b"/v1/models": _answer(
        b"application/json", b'{"object":"list","data":[{"id":"tiny","object":"model","parent":null}]}'
    ),
    b"/metrics": _answer(b"text/plain", b""),
}


class Upstream(asyncio.Protocol):
    """One connection. It reads only as much of HTTP as the load of these measurements uses."""

    def __init__(self, unary: bytes, events: list[bytes], gap: float) -> None:
        self._unary, self._events, self._gap = unary, events, gap
        self._buffer = b""
        self._streams: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._streams:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            place = head.lower().find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._transport.write(GETS.get(head.split(b" ", 2)[1], _answer(b"application/json", b"")))
        elif b'"stream":true' in body:
            task = asyncio.get_running_loop().create_task(self._stream())
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
        else:
            self._transport.write(self._unary)
            if b"\r\nconnection: close" in head.lower():
                self._transport.close()

    async def _stream(self) -> None:
        self._transport.write(HEAD)
        for event in self._events:
            self._transport.write(event)
            await asyncio.sleep(self._gap)


async def serve(port: int, chunks: int, gap: float) -> None:
    """Listen until the process is ended."""
    unary, events = unary_answer(), stream_events(chunks)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(unary, events, gap), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    given = sys.argv[1:]
    uvloop.run(
        serve(int(given[0]), int(given[1]) if len(given) > 1 else 64, float(given[2]) if len(given) > 2 else 0.002)
    )
