"""Streams: however vLLM's bytes are cut, the client gets the same ones, the count is the same, and nothing fails.

The first byte of an input says what the client asked for, the second how many choices there are. Then either the bytes are the
stream, of the API that the first byte names, or each of them picks an event: real streams are made of events.
"""

from collections.abc import Sequence
from typing import Final

from proxy.dialects import table
from proxy.dialects.base import Call
from proxy.events import EventWatcher
from proxy.sse import Fingerprint, StreamError
from tests.fuzz.cuts import cut, single
from tests.fuzz.engine import drive

_USAGE = b'"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d}'
_CHUNK = b'data: {"id":"c","model":"m","choices":[{"index":%d,"delta":{"content":"%b"},"finish_reason":%b}],%b}\n\n'
_TEXTS = (b"x", b'data: \\"usage\\":{\\"completion_tokens\\":9}', b'\\n\\n\\"choices\\":[{', b"\xc3\xa9", b"")
_END = b'data: {"id":"c","model":"m","choices":[],"system_fingerprint":"f",%b}\n\n'
_OTHERS = (
    b"data: [DONE]\n\n",
    b": ping\n\n",
    b'data: {"error":{"message":"m"}}\n\n',
    b"event: x\r\n\r\n",
    b"data: {\n\n",
    b"data:{}\n\n",
)

Result = tuple[bytes, int | None, bool, bool, str | None]
"""What the client got, the tokens counted, whether the stream failed and ended, and why it ended."""


def events(picks: bytes, choices: int) -> tuple[bytes, int | None]:
    """Return a stream, an event for each byte, and the tokens that it reports, None for none."""
    total = None
    out, counts = [], [0] * choices
    for pick in picks:
        kind, index = pick % 16, pick // 16 % choices
        if kind < 10:
            counts[index] += 1
            usage = _USAGE % (5 + counts[index], counts[index])
            reason = b'"stop"' if kind == 9 else b"null"
            out.append(_CHUNK % (index, _TEXTS[kind % len(_TEXTS)], reason, usage))
        elif kind == 10 and pick > 127:
            total = sum(counts)
            out.append(_END % (_USAGE % (5 + sum(counts), sum(counts))))
        else:
            out.append(_OTHERS[kind % len(_OTHERS)])
    return b"".join(out), total if total is not None else sum(counts) or None


CORPUS = [
    bytes([wish, choices]) + picks
    for wish in range(8)
    for choices in (0, 1)
    for picks in (
        b"\x00\x01\x02\x03\x09\x8a\x0c",
        b"\x00\x10\x01\x11\x19\x09\x8a\x0c",
        b"\x0d\x00\x0f\x01\x0e",
        b"\x04\x04\x09\x0b",
    )
] + [
    b"\x08\x00" + stream
    for stream in (
        b"data: [DONE]\n\n",
        b'data: {"choices":[{}]}\r\n\r\ndata: {"usage":{}}',
        b"\n\n\n",
        b"data: \xff\n\n",
    )
]
CORPUS += [
    bytes([8 | 16 * api, 0]) + b"data: " + b"\n\ndata: ".join(stream) + b"\n\n"
    for api, *stream in (
        (1, b'{"request_id":"r","choices":[{"index":0,"token_ids":[1]}],"usage":{"completion_tokens":1}}', b"[DONE]"),
        (2, b'{"object":"transcription.chunk","choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}'),
        (3, b'{"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}', b'{"type":"message_stop"}'),
        (
            3,
            b'{"type":"content_block_delta","delta":{"text":"a"}}',
            b'{"type":"message_delta","usage":{"output_tokens":2}}',
        ),
        (4, b'{"type":"response.output_text.delta","delta":"a"}', b'{"type":"error","error":{}}'),
        (4, b'{"type":"response.completed","response":{"id":"r","status":"completed","usage":{"output_tokens":3}}}'),
        (2, b'{"choices":[{}]}\n', b'{"choices":[],"usage":{"completion_tokens":1}}'),
        (5, b'{"type":"content-delta","delta":{"message":{"content":{"text":"a"}}}}', b"[DONE]"),
        (5, b'{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"output_tokens":3.0}}}}'),
    )
]
CORPUS += [
    bytes([8 | 16 * api, 0]) + b'data: {"id":"\xff","type":"\xff","usage":{"\xff":"\xff"}}\n\n' for api in range(6)
]


APIS: Final = (
    "/v1/chat/completions",
    "/inference/v1/generate",
    "/v1/audio/transcriptions",
    "/v1/messages",
    "/v1/responses",
    "/cohere/v2/chat",
)
_RARELY: Final = 64
"""Byte by byte takes long: one input of so many is read so."""


def check(data: bytes) -> None:
    """Watch a stream whole, in two halves, byte by byte, and in the pieces that its own hash says."""
    if len(data) < 2:
        return
    wish, choices = data[0], 1 + data[1] % 3
    made = wish & 8 == 0
    stream, tokens = events(data[2:14], choices) if made else (data[2:], None)
    whole = watch([stream], wish, choices)
    if made:
        assert whole[1] == tokens, (stream, whole[1], tokens)
    for pieces in (cut(stream), single(stream) if sum(data) % _RARELY == 0 else [stream]):
        found = watch(pieces, wish, choices)
        if made:
            assert found == whole, (stream, pieces, found, whole)
        elif api(wish) != APIS[0]:
            assert _packed(found) == _packed(whole), (stream, pieces, found, whole)
    if made and wish & 3 == 3 and not wish & 4:
        assert whole[0] == stream, "asked for all of it, the client gets vLLM's bytes"
    if made and wish & 3 == 0:
        assert b'"usage":{' not in whole[0], whole[0]


def _packed(result: Result) -> Result:
    """Leave out line ends: empty lines between events mean nothing, and may go with the one before or after."""
    return (result[0].translate(None, b"\r\n"), *result[1:])


def api(wish: int) -> str:
    """Return the path whose stream it is."""
    return APIS[(wish >> 4) % len(APIS)] if wish & 8 else APIS[0]


def watch(pieces: Sequence[bytes], wish: int, choices: int) -> Result:
    """Return what became of a stream."""
    route = table.find(api(wish).encode())
    assert route is not None
    assert route[0].dialect is not None
    call = Call(b"", stream=True, choices=choices, keep_usage=bool(wish & 1), keep_continuous=bool(wish & 2))
    watcher = route[0].dialect.watch(call, True, Fingerprint())
    out = []
    try:
        out = [watcher.feed(piece, last=False) for piece in pieces]
        out.append(watcher.feed(b"", last=True))
    except StreamError:
        assert sum(map(len, pieces)) > 1 << 20, "only what is large is too large"
    if isinstance(watcher, EventWatcher):
        assert b"".join(out) == b"".join(pieces), "nothing is taken out of these"
    count = watcher.count()
    said = None if count is None else count.tokens.output
    return b"".join(out), said, watcher.failed, watcher.finished, watcher.finish_reason


if __name__ == "__main__":
    drive(
        check,
        CORPUS,
        (
            "proxy.sse",
            "proxy.usage",
            "proxy.continuous",
            "proxy.events",
            "proxy.dialects.messages",
            "proxy.dialects.responses",
            "proxy.dialects.cohere",
        ),
        [b"\n\n", b"\r\n\r\n", b"data: ", b'"usage":{', b'"choices":[{', b'"index":1', b'"error":{}', b"[DONE]"],
    )
