"""Bytes that want to be read in two ways, on real sockets: a clear refusal, or one request that was rebuilt and is metered."""

import json  # noqa: TID251  # the reference: how vLLM reads a body

import pytest

from tests.fuzz.heads import theirs
from tests.proxy.fakes import KEY
from tests.proxy.memory import post
from tests.proxy.serving import BODY, CHAT, proxy, unary

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer "
    + KEY
    + b"\r\n"
)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
DEEP = b'{"model":"tiny","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

REFUSED = {
    "length and chunks": (HEAD + LENGTH + CHUNKED + b"\r\n" + CHUNKS, 400),
    "chunks and length": (HEAD + CHUNKED + LENGTH + b"\r\n" + CHUNKS, 400),
    "a length that ends before the chunks do": (HEAD + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + CHUNKS + SMUGGLED, 400),
    "two lengths": (HEAD + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY, 400),
    "the same length twice": (HEAD + LENGTH + LENGTH + b"\r\n" + BODY, 400),
    "a length below zero": (HEAD + b"Content-Length: -1\r\n\r\n" + BODY, 400),
    "a length that overflows": (HEAD + b"Content-Length: 18446744073709551616\r\n\r\n" + BODY, 400),
    "a length in hexadecimals": (HEAD + b"Content-Length: 0x1e\r\n\r\n" + BODY, 400),
    "a blank before the colon": (HEAD + CHUNKED.replace(b":", b" :") + LENGTH + b"\r\n" + CHUNKS, 400),
    "another coding": (HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS, 400),
    "a hidden coding": (HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS, 400),
    "bare line feeds": ((HEAD + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY, 400),
    "a bare line feed in a value": (HEAD + b"X: a\nTransfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "a bare carriage return": (HEAD + b"X: a\rTransfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "a folded line": (HEAD + b"X: a\r\n Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "a chunk that is longer than it says": (HEAD + CHUNKED + b"\r\n3\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    "a chunk's size that overflows": (HEAD + CHUNKED + b"\r\nffffffffffffffff1\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    "a line feed in a chunk's extension": (HEAD + CHUNKED + b"\r\n3;\nabc\r\nabc\r\n0\r\n\r\n", 400),
    "a length in a trailer": (HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"Content-Length: 7\r\n\r\n", 400),
    "two hosts": (HEAD + b"Host: b\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "two keys": (HEAD + b"Authorization: Bearer other\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "NUL in the head": (HEAD + b"X: a\0b\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "NUL in the target": (post(CHAT + "\0", BODY), 400),
    "a huge head": (HEAD + b"X: %b\r\n" % (b"y" * 100_000) + LENGTH + b"\r\n" + BODY, 431),
    "a huge trailer": (HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"X: %b\r\n\r\n" % (b"y" * 100_000), 431),
    "many fields in a trailer": (HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"X: yyyy\r\n" * 20_000 + b"\r\n", 431),
    "a member twice": (post(CHAT, b'{"model":"tiny","n":1,"messages":[],"n":9}'), 400),
    "an escaped member": (post(CHAT, b'{"model":"tiny","messages":[],"\\u006e":9}'), 400),
    "deep JSON": (post(CHAT, DEEP), 400),
    "no UTF-8": (post(CHAT, b'{"model":"tiny","messages":"\xff"}'), 400),
    "UTF-16": (post(CHAT, BODY.decode().encode("utf-16")), 400),
    "a mark before the body": (post(CHAT, b"\xef\xbb\xbf" + BODY), 400),
    "a form": (post("/v1/responses", b"model=tiny").replace(b"application/json", b"application/x-www-form-urlencoded"), 415),
    "no type": (post("/v1/messages", BODY).replace(b"Content-Type", b"X-Type"), 415),
    "a model that is a number": (post(CHAT, b'{"model":7}'), 400),
    "a model that is a list": (post("/v1/completions", b'{"model":["tiny"],"prompt":"x"}'), 400),
    "a huge number of choices": (post(CHAT, b'{"model":"tiny","n":%b}' % (b"9" * 5000)), 400),
    "choices below one": (post(CHAT, b'{"model":"tiny","n":-1}'), 400),
    "choices that are not whole": (post(CHAT, b'{"model":"tiny","n":1.5}'), 400),
    "NUL in JSON": (post(CHAT, b'{"model":"tiny\0"}'), 400),
    "NUL behind JSON": (post(CHAT, BODY + b"\0"), 400),
}  # fmt: skip

REBUILT = {
    "chunks": HEAD + CHUNKED + b"\r\n" + CHUNKS,
    "chunks with extensions": HEAD + CHUNKED + b"\r\n" + CHUNKS.replace(b"\r\n", b';a="b;c"\r\n', 1),
    "one byte a chunk": HEAD + CHUNKED + b"\r\n" + b"".join(b"01\r\n%c\r\n" % byte for byte in BODY) + b"000\r\n\r\n",
    "a trailer": HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"Authorization: Bearer x\r\nHost: b\r\n\r\n",
    "a coding in capitals": HEAD + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n" + CHUNKS,
    "fields named as the connection's": HEAD + b"Connection: content-length, x-a\r\nX-A: 1\r\n" + LENGTH + b"\r\n" + BODY,
    "an offer to upgrade": HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + LENGTH + b"\r\n" + BODY,
    "a request in the body": post(CHAT, b'{"model":"tiny","messages":"\\r\\n\\r\\n%b"}' % SMUGGLED.replace(b"\r\n", b"\\r\\n")),
    "blanks in the first line": (HEAD + LENGTH + b"\r\n" + BODY).replace(b" ", b"  ", 2),
    "huge integers": post(CHAT, b'{"model":"tiny","messages":[],"seed":%b,"max_tokens":1e999}' % (b"9" * 4000)),
    "NUL, escaped": post(CHAT, b'{"model":"tiny","messages":"\\u0000"}'),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(name: str) -> None:
    request, status = REFUSED[name]
    async with proxy(unary) as it:
        answer = await it.ask(request)
        assert answer.status == status, answer.body
        assert "error" in json.loads(answer.body)
        assert not it.raw.got, "nothing reached vLLM"
        assert not it.recorder.opens


@pytest.mark.parametrize("name", REBUILT)
async def test_rebuilt(name: str) -> None:
    async with proxy(unary) as it:
        answer = await it.ask(REBUILT[name])
        assert answer.status == 200, answer.body
        usage = await it.settled()
        assert (usage.endpoint, usage.model, len(it.recorder.opens)) == (CHAT, "tiny", 1)
        (got,) = it.raw.got
        framed, rest = theirs(got.head + b"\r\n\r\n" + got.body)
        assert framed is not None
        assert rest == b"", "one request, and nothing behind it"
        names = [field for field, _ in framed[2]]
        assert names.count(b"content-length") == 1
        assert not {b"transfer-encoding", b"upgrade", b"connection", b"x-a"} & set(names)
        assert json.loads(got.body.replace(b"9" * 4000, b"9"))["model"] == "tiny"
