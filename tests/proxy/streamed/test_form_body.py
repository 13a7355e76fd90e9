"""What a streamed form becomes, against what the held path makes of the same bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import form
from proxy.dialects.audio import TRANSCRIPTIONS
from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.form import Part
from proxy.streamed import bodies

PATH = "/v1/audio/transcriptions"
KIND = b"multipart/form-data; boundary=b-1"
FILE = Part("file", b"RIFF\r\n--b-\r\n--b\r\n\r\n-", b"a.wav", b"audio/wav")


def read(body: bytes) -> Call:
    return TRANSCRIPTIONS.read(Asked(body, "salt", KIND))


def stream(pieces: list[bytes], limit: int = 100_000) -> tuple[bytes, Call]:
    body = bodies.body(PATH, KIND, limit)
    out = b"".join([body.feed(piece) for piece in pieces])
    call = read(body.rest())
    return out + body.tail(call.body), call


def parts(body: bytes) -> list[Part]:
    return sorted(form.take_apart(body, b"b-1"), key=lambda part: (part.name, part.content))


def refused(pieces: list[bytes]) -> str | None:
    try:
        stream(pieces)
    except BadRequestError as error:
        return error.code
    return None


FIELDS = [
    Part("model", b"tiny"),
    FILE,
    Part("stream", b"true"),
    Part("cache_salt", b"mine"),
    Part("x[]", b"1"),
    Part("x[]", b"2"),
]


def test_at_every_boundary_it_is_what_the_held_path_makes() -> None:
    body = form.put_together(FIELDS, b"b-1")
    like = read(body)
    for pieces in [
        *([body[:at], body[at:]] for at in range(len(body) + 1)),
        [body[at : at + 1] for at in range(len(body))],
    ]:
        out, call = stream(pieces)
        assert parts(out) == parts(like.body)
        assert (call.model, call.stream, call.keep_usage) == ("tiny", True, False)
    assert b"mine" not in out


@given(st.permutations(FIELDS), st.binary(max_size=40), st.lists(st.integers(0), max_size=4))
def test_in_any_order(fields: list[Part], content: bytes, places: list[int]) -> None:
    fields = [Part("file", content, b"a.wav") if part is FILE else part for part in fields]
    if b"\r\n--b-1" in b"\r\n" + content:
        return
    body = form.put_together(fields, b"b-1")
    at = sorted({place % (len(body) + 1) for place in places})
    out, _ = stream([body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True)])
    assert parts(out) == parts(read(body).body)


@pytest.mark.parametrize(
    "fields",
    [
        [*FIELDS, Part("model", b"other")],
        [*FIELDS, FILE],
        [*FIELDS, Part("file", b"x")],
        [*FIELDS, Part("stream_include_usage", b"maybe")],
        [*FIELDS, Part("bad name", b"x")],
    ],
)
def test_what_the_held_path_refuses(fields: list[Part]) -> None:
    body = form.put_together(fields, b"b-1")
    with pytest.raises(BadRequestError):
        read(body)
    for at in range(len(body) + 1):
        assert refused([body[:at], body[at:]]) == "invalid_request"


def test_cut_short_it_is_refused() -> None:
    body = form.put_together(FIELDS, b"b-1")
    for at in range(len(body) - 2):
        assert refused([body[:at]]) == "invalid_request"


def test_what_waits_has_a_bound_and_the_file_has_none() -> None:
    large = Part("file", b"x" * 5000, b"a.wav")
    body = form.put_together([Part("model", b"tiny"), large], b"b-1")
    assert parts(stream([body[:900], body[900:]], 1000)[0]) == parts(body)
    for extra in (Part("prompt", b"x" * 2000), Part("prompt", b"x" * 2000, b"not.wav")):
        body = form.put_together([Part("model", b"tiny"), extra, large], b"b-1")
        with pytest.raises(BadRequestError, match="only the file") as error:
            stream([body[:900], body[900:]], 1000)
        assert error.value.code == "request_too_large"
