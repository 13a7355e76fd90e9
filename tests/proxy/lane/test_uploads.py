"""Large bodies through the served fast lane: passed on as they come, decided about at their end."""

import msgspec

from tests.proxy.memory import post
from tests.proxy.serving import ANSWER, CHAT, proxy, unary

HELD = 50_000


def chat(size: int, *last: bytes) -> bytes:
    """Return a chat with a picture of that many bytes; `last` are the members after it."""
    picture = b'{"type":"image_url","uuid":"mine","image_url":{"url":"' + b"A" * size + b'"}}'
    return b'{"messages":[{"role":"user","content":[' + picture + b"]}]," + b",".join([b'"model":"tiny"', *last]) + b"}"


async def test_a_large_body_is_rewritten_as_a_held_one() -> None:
    body = chat(500_000, b'"cache_salt":"mine"', b'"priority":-5', b'"n":2')
    async with proxy(unary, held_body=HELD) as streamed:
        answer = await streamed.ask(post(CHAT, body))
        assert (answer.status, answer.body) == (200, ANSWER)
        usage = await streamed.settled()
    async with proxy(unary) as held:
        assert (await held.ask(post(CHAT, body))).status == 200
        same = await held.settled()
    assert b"transfer-encoding: chunked" in streamed.raw.got[0].head
    sent, like = (msgspec.json.decode(it.raw.got[0].body) for it in (streamed, held))
    assert sent == like
    assert b"uuid" not in streamed.raw.got[0].body
    assert (usage.choices, usage.input_tokens, usage.outcome, usage.model) == (2, 3, "completed", "tiny")
    assert usage.request_bytes == same.request_bytes
