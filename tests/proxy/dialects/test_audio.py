"""Forms with sound. Bodies are written by httpx, and what goes upstream is read by Starlette, as vLLM reads it."""

from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.requests import Request

from proxy import form
from proxy.dialects.audio import TRANSCRIPTIONS, TRANSLATIONS, Audio
from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.sse import Fingerprint
from proxy.tokens import Count, Tokens
from tests.proxy.fakes import KEY
from tests.proxy.memory import Bench, responses

SOUND = b"RIFF\r\n--not-the-boundary\r\n\x00\xff"
Fields = list[tuple[str, str]]


def written(fields: Fields, name: str = "a.wav") -> tuple[bytes, bytes]:
    """Return the type and the body of a form with a file."""
    values: dict[str, Any] = {}
    for key, value in fields:
        values.setdefault(key, []).append(value)
    request = httpx.Request("POST", "http://x", data=values, files={"file": (name, SOUND, "audio/wav")})
    return request.headers["content-type"].encode(), request.read()


def read(fields: Fields, dialect: Audio = TRANSCRIPTIONS) -> tuple[Call, bytes]:
    kind, body = written(fields)
    return dialect.read(Asked(body, "5a17", kind)), kind


async def understood(kind: bytes, body: bytes) -> Fields:
    """Return what vLLM's server reads in a form; a file as its bytes."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}
    async with Request(scope, receive).form() as found:
        return [
            (name, (await value.read()).decode("latin-1") if isinstance(value, UploadFile) else value)
            for name, value in found.multi_items()
        ]


async def test_what_goes_upstream_is_what_was_read() -> None:
    sent = [("model", "whisper"), ("prompt", 'é\r\n"x"'), ("timestamp_granularities[]", "word")]
    sent += [
        ("timestamp_granularities[]", "segment"),
        ("vllm_xargs", '{"a":1}'),
        ("vllm_xargs[]", "2"),
        ("priority", "1"),
    ]
    call, kind = read(sent)
    assert (call.model, call.stream, call.inputs, call.choices) == ("whisper", False, 1, 1)
    assert await understood(kind, call.body) == [*sent[:4], ("file", SOUND.decode("latin-1"))]


async def test_streams_are_asked_for_usage() -> None:
    call, kind = read([("stream", "True"), ("stream_include_usage", "yes")])
    assert (call.stream, call.keep_usage, call.keep_continuous, call.model) == (True, True, False, None)
    fields = dict(await understood(kind, call.body))
    assert (fields["stream_include_usage"], fields["stream_continuous_usage_stats"]) == ("true", "true")
    call, kind = read([("stream", "false"), ("stream_include_usage", "false")])
    assert not call.stream
    assert dict(await understood(kind, call.body))["stream_include_usage"] == "false"


def test_translations_that_report_nothing_are_refused() -> None:
    """vLLM answers them with the text alone."""
    for fields in ([], [("response_format", "json")], [("stream", "")]):
        with pytest.raises(BadRequestError):
            read(fields, TRANSLATIONS)
    assert read([("stream", "1")], TRANSLATIONS)[0].stream
    assert not read([("response_format", "verbose_json")], TRANSLATIONS)[0].stream


@pytest.mark.parametrize(
    "fields",
    [
        [("model", "a"), ("model", "b")],
        [("stream", "maybe")],
        [("stream", "true"), ("stream_include_usage", "2")],
        [("model", "m" * 513)],
        [("strange name", "x")],
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(fields: Fields) -> None:
    with pytest.raises(BadRequestError) as error:
        read(fields)
    assert error.value.code == "invalid_request"


@pytest.mark.parametrize(
    "kind",
    [
        *(b"", b"application/json", b"application/x-www-form-urlencoded", b"multipart/mixed; boundary=x"),
        *(b"multipart/form-data", b"multipart/form-data; boundary="),
        b"multipart/form-data; boundary=x; charset=utf-16",
    ],
)
def test_other_types_are_refused(kind: bytes) -> None:
    with pytest.raises(BadRequestError) as error:
        TRANSCRIPTIONS.read(Asked(b"--x--\r\n", "5a17", kind))
    assert error.value.code == "unsupported_media_type"


def test_a_form_that_is_cut_anywhere_is_refused() -> None:
    kind, body = written([("model", "m")])
    boundary = form.boundary_of(kind)
    for end in range(len(body) - 4):
        with pytest.raises(BadRequestError):
            form.take_apart(body[:end], boundary)
    assert len(form.take_apart(body[:-2], boundary)) == 2


def test_a_field_in_another_coding_is_refused() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\r\n--x--\r\n'
    with pytest.raises(BadRequestError):
        TRANSCRIPTIONS.read(Asked(body, "5a17", b"multipart/form-data; boundary=x"))


@given(
    st.lists(st.builds(form.Part, st.from_regex("[a-z_]{1,9}", fullmatch=True), st.binary(max_size=60)), max_size=5),
    st.binary(max_size=40),
)
def test_a_form_is_read_as_it_is_written(fields: list[form.Part], sound: bytes) -> None:
    parts = [*fields, form.Part("file", sound, b"a.wav", b"audio/wav")]
    boundary = b"----WebKitFormBoundary0123456789"
    assert form.take_apart(form.put_together(parts, boundary), boundary) == parts


def whole(body: bytes) -> Count | None:
    watcher = TRANSCRIPTIONS.watch(Call(b""), events=False, fingerprint=Fingerprint())
    assert watcher.feed(body, last=False) + watcher.feed(b"", last=True) == body
    return watcher.count()


def test_seconds_are_what_vllm_counts() -> None:
    assert whole(b'{"text":"x","usage":{"type":"duration","seconds":13}}') == Count(
        Tokens(audio_seconds=13.0), whole=True
    )
    assert whole(b'{"duration":12.2,"language":"en","text":"x"}') == Count(Tokens(audio_seconds=13.0), whole=True)
    assert whole(b'{"text":"x"}') is None
    long = b'{"duration":12.2,"text":"' + b"x" * (1 << 20) + b'"}'
    assert whole(long) == Count(Tokens(audio_seconds=13.0), whole=True)


def chunk(text: str, usage: tuple[int, int] | None = None, finish: str | None = None) -> bytes:
    """Return an event as vLLM writes it: fields that were not set are left out."""
    choice: dict[str, Any] = {"delta": {"content": text}}
    if finish is not None:
        choice |= {"finish_reason": finish, "stop_reason": None}
    event: dict[str, Any] = {"id": "trsc-1", "object": "transcription.chunk", "created": 1, "model": "w"}
    event["choices"] = [choice] if text else []
    if usage is not None:
        event["usage"] = {"prompt_tokens": usage[0], "total_tokens": sum(usage), "completion_tokens": usage[1]}
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


DONE = b"data: [DONE]\n\n"
SENT = [
    chunk("a", (4, 1)),
    chunk("b", (4, 2), "stop"),
    chunk("c", (4, 3)),
    chunk("d", (4, 4), "stop"),
    chunk("", (4, 4)),
]
PLAIN = [chunk("a"), chunk("b", finish="stop"), chunk("c"), chunk("d", finish="stop")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], [*PLAIN, DONE]),
        ([("stream_continuous_usage_stats", "true")], [*PLAIN, DONE]),
        ([("stream_include_usage", "true")], [*PLAIN, SENT[-1], DONE]),
        ([("stream_include_usage", "true"), ("stream_continuous_usage_stats", "true")], [*SENT, DONE]),
    ],
)
def test_a_stream_of_several_segments(fields: Fields, expected: list[bytes]) -> None:
    """Each piece goes on at once, though a segment's end says `stop`."""
    call, _ = read([("stream", "true"), *fields])
    watcher = TRANSCRIPTIONS.watch(call, events=True, fingerprint=Fingerprint())
    got = [watcher.feed(event, last=False) for event in [*SENT, DONE]]
    assert got == (expected if len(expected) == 6 else [*expected[:-1], b"", DONE])
    assert watcher.finished
    assert watcher.count() == Count(Tokens(input=4, output=4), whole=True)


def test_a_form_through_the_lane() -> None:
    kind, body = written([("model", "tiny"), ("stream", "true")])
    head = [b"POST /v1/audio/transcriptions HTTP/1.1", b"Host: x", b"Authorization: Bearer " + KEY]
    head += [b"Content-Type: " + kind, b"Content-Length: %d" % len(body), b"", b""]
    bench = Bench()
    bench.send(b"\r\n".join(head) + body)
    written_up, _, form_up = bytes(bench.upstream.written).partition(b"\r\n\r\n")
    assert kind in written_up
    assert b"content-length: %d" % len(form_up) in written_up
    events = b"".join([*SENT, DONE])
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    bench.answer(answer + b"%x\r\n%b\r\n0\r\n\r\n" % (len(events), events))
    (response,) = responses(bench.client.take())
    assert response.body == b"".join([*PLAIN, DONE])
    usage = bench.usage
    assert (usage.dialect, usage.stream, usage.input_tokens, usage.output_tokens) == ("transcriptions", True, 4, 4)
    assert (usage.accuracy, usage.finish_reason, usage.response_id) == ("exact", "stop", "trsc-1")
