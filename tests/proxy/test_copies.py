"""Prompts are copied for tenants whose policy says so, and for nobody else."""

import pytest
from prometheus_client import CollectorRegistry

from contracts import metrics
from contracts.clock import utc_now
from contracts.projection import KeyRecord, SubjectRecord
from contracts.prompts import PromptData
from proxy import copies
from proxy.identity import Identity, judge
from proxy.ports import Principal
from proxy.prompt_copy import LIMIT, Copy
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import Bench, post

CHAT = "/v1/chat/completions"
ASKED = b'{"model":"tiny","messages":[{"role":"user","content":"\xc3\xa9"}],"stream":%b,"priority":-1}'
ANSWER = b'{"id":"c","model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"x"}}]%b}\n\n'
USAGE = b',"usage":{"prompt_tokens":3,"completion_tokens":1}'


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.directory.known[KEY] = Principal(KEY_RECORD, {}, record_prompts=True)
    return made


def answer(bench: Bench, body: bytes, kind: bytes = b"application/json") -> None:
    bench.answer(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body))


def test_what_was_asked_and_answered_is_copied_as_the_client_saw_it(bench: Bench) -> None:
    bench.send(post(CHAT, ASKED % b"false"))
    answer(bench, ANSWER)
    (copy,) = bench.recorder.copies
    assert (copy.request, copy.response) == ((ASKED % b"false").decode(), ANSWER.decode())
    assert (copy.request_truncated, copy.response_truncated) == (False, False)
    usage = bench.usage
    shared = (
        "producer",
        "request_id",
        "tenant",
        "team",
        "user",
        "key",
        "instance",
        "model",
        "endpoint",
        "outcome",
        "status",
    )
    assert all(getattr(copy, name) == getattr(usage, name) for name in shared)


def test_a_stream_is_copied_without_what_was_asked_for_behind_the_clients_back(bench: Bench) -> None:
    bench.send(post(CHAT, ASKED % b"true"))
    answer(bench, EVENT % USAGE + b"data: [DONE]\n\n", b"text/event-stream")
    (copy,) = bench.recorder.copies
    assert copy.response == (EVENT % b"").decode() + "data: [DONE]\n\n"


def test_without_the_policy_nothing_is() -> None:
    bench = Bench()
    bench.send(post(CHAT, ASKED % b"false"))
    answer(bench, ANSWER)
    assert bench.usage.outcome == "completed"
    assert bench.recorder.copies == []


def test_what_is_denied_is_not_copied(bench: Bench) -> None:
    bench.send(post(CHAT, b'{"model":7}'))
    assert len(bench.recorder.decisions) == 1
    assert bench.recorder.copies == []


def test_large_bodies_are_cut_between_characters(bench: Bench) -> None:
    long = b'{"model":"tiny","prompt":"' + "é".encode() * LIMIT + b'"}'
    bench.send(post("/v1/completions", long))
    answer(bench, b" " + "é".encode() * LIMIT)
    (copy,) = bench.recorder.copies
    assert copy.request is not None
    assert copy.response is not None
    assert long.decode().startswith(copy.request)
    assert (copy.request_truncated, copy.response_truncated) == (True, True)
    assert LIMIT - 2 < len(copy.request.encode()) <= LIMIT
    assert LIMIT - 2 < len(copy.response.encode()) <= LIMIT


def test_what_is_no_text_is_absent(bench: Bench) -> None:
    bench.send(post(CHAT, ASKED % b"false"))
    answer(bench, ANSWER)
    copy = Copy(b"\xff\x00sound")
    assert copy.data(bench.usage).request is None
    assert copy.data(bench.usage).response is None


def test_the_policy_is_the_tenants() -> None:
    key = KeyRecord(id="key_1", tenant="ten_a", user="user_b", revision=1)
    for tenant, user in ((True, False), (False, True)):
        subjects = [SubjectRecord(id="x", record_prompts=wish, revision=1) for wish in (tenant, user)]
        who = judge(Identity("digest", key, subjects[0], None, subjects[1]), utc_now())
        assert isinstance(who, Principal)
        assert who.record_prompts is tenant


async def test_more_than_may_wait_is_given_up_and_counted() -> None:
    registry = CollectorRegistry()
    waiting = copies.Copies({}, metrics.PROMPT_COPIES.counter(registry))
    data = PromptData(
        producer="p", request_id="r", tenant="t", instance="i", endpoint="/", outcome="completed", request="x" * LIMIT
    )
    for _ in range(copies.WAITING // LIMIT + 3):
        waiting.add(data, utc_now())
    assert registry.get_sample_value("weighbridge_prompt_copies_total", {"result": "lost"}) == 4
    assert waiting._size <= copies.WAITING
