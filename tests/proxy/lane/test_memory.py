"""What a stream that runs keeps in memory."""

import tracemalloc

import pytest

from tests.proxy.memory import post
from tests.proxy.serving import ANSWER, BODY, CHAT, SSE, event, proxy
from tests.proxy.upstream import Got, Piece, plain

PROMPT = 60_000


def answer(got: Got) -> list[Piece]:
    return [SSE + event(1), 60.0] if b'"stream":true' in got.body else [plain(ANSWER)]


@pytest.mark.parametrize("before", [0, 2], ids=["first", "recognised"])
async def test_a_prompt_is_forgotten_when_its_answer_begins(before):
    prompt = b'{"model":"tiny","stream":true,"messages":[{"role":"user","content":"%b"}]}' % (b"x" * PROMPT)
    async with proxy(answer) as running:
        reader, writer = await running.connect()
        for _ in range(before):
            writer.write(post(CHAT, BODY))
            await reader.readuntil(ANSWER)
        tracemalloc.start()
        try:
            writer.write(post(CHAT, prompt))
            await reader.readuntil(b"data: ")
            ours = [tracemalloc.Filter(True, "*/proxy/*"), tracemalloc.Filter(False, "*/tests/*")]
            kept = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
        finally:
            tracemalloc.stop()
        assert kept < PROMPT / 2
        writer.close()
