"""What these tests say to a lane, and how they read what it says."""

import msgspec

from tests.proxy.memory import Bench, responses

CHAT = "/v1/chat/completions"
BODY = b'{"model":"tiny","messages":[]}'
ANSWER = b'{"id":"chatcmpl-1","model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


def ok(body: bytes = ANSWER, *fields: bytes) -> bytes:
    return b"\r\n".join(
        [b"HTTP/1.1 200 OK", b"Content-Type: application/json", *fields, b"Content-Length: %d" % len(body), b"", body]
    )


def error(bench: Bench) -> tuple[int, str]:
    (response,) = responses(bench.client.take(), closed=True)
    assert response.header("x-request-id") is not None
    body = msgspec.json.decode(response.body)["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return response.status, body["code"]
