"""The server behind every proxy: answers are made once, so that it costs next to nothing.

    python -m benchmarks.upstream PORT CHUNKS GAP_SECONDS REPEAT

A POST whose body asks for a stream gets CHUNKS events, REPEAT times, one every GAP_SECONDS or as fast as they are taken; any
other gets a chat's answer; a GET gets what a proxy asks a vLLM server for. As in vLLM, usage stands in every event, in one
of its own at the end, or nowhere, as the request asks for it.
"""

import asyncio
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Stream:
    """The chunks of a stream: its events, and what comes after them."""

    events: list[bytes]
    end: bytes


def stream(count: int, continuous: bool, total: bool) -> Stream:
    """Return a stream of `count` events; `continuous`: usage in each of them, `total`: usage after them."""
    common = {
        "id": "chatcmpl-a5ef4ed0024d8a9d",
        "object": "chat.completion.chunk",
        "created": 1795219588,
        "model": "tiny",
    }

    def usage(tokens: int) -> dict[str, int]:
        return {"prompt_tokens": 22, "total_tokens": 22 + tokens, "completion_tokens": tokens}

    choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None, "token_ids": None}
    event = {**common, "choices": [choice]}
    events = [{**event, "usage": usage(number)} if continuous else event for number in range(1, count + 1)]
    sums = _chunk(msgspec.json.encode({**common, "choices": [], "usage": usage(count)})) if total else b""
    return Stream([_chunk(msgspec.json.encode(each)) for each in events], sums + _chunk(b"[DONE]") + b"0\r\n\r\n")


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


@dataclass(frozen=True)
class Answers:
    """What a server answers, made beforehand. `gap` in seconds; 0: as fast as the other side takes it."""

    unary: bytes
    continuous: Stream
    summed: Stream
    bare: Stream
    gap: float
    repeat: int

    @classmethod
    def make(cls, chunks: int, gap: float, repeat: int) -> "Answers":
        kinds = (stream(chunks, continuous=True, total=True), stream(chunks, False, True), stream(chunks, False, False))
        return cls(unary_answer(), *kinds, gap, repeat)

    def to(self, body: bytes) -> Stream | None:
        """Return the stream that a request asks for, or None."""
        if b'"stream":true' not in body:
            return None
        if b'"include_usage":true' not in body:
            return self.bare
        return self.continuous if b'"continuous_usage_stats":true' in body else self.summed


class Upstream(asyncio.Protocol):
    """One connection. It reads only as much of HTTP as the load of these measurements uses."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._buffer = b""
        self._streams: set[asyncio.Task[None]] = set()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._streams:
            task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

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
        elif (asked := self._answers.to(body)) is not None:
            task = asyncio.get_running_loop().create_task(self._stream(asked))
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
        else:
            self._transport.write(self._answers.unary)
            if b"\r\nconnection: close" in head.lower():
                self._transport.close()

    async def _stream(self, asked: Stream) -> None:
        self._transport.write(HEAD)
        gap = self._answers.gap
        for _ in range(self._answers.repeat):
            for event in asked.events:
                await self._writable.wait()
                self._transport.write(event)
                if gap:
                    await asyncio.sleep(gap)
        self._transport.write(asked.end)


async def serve(port: int, answers: Answers) -> None:
    """Listen until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(answers), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    port, chunks, gap, repeat = sys.argv[1:]
    uvloop.run(serve(int(port), Answers.make(int(chunks), float(gap), int(repeat))))
