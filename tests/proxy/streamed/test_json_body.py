"""What a streamed body becomes, against what the held path makes of the same bytes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import table
from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.streamed import bodies
from proxy.streamed.json_body import JsonBody, Large
from proxy.streamed.lexer import MAX_DEPTH, MAX_TOKEN

SALT = "salt-of-the-tenant"
LIMIT = 100_000
CHAT = "/v1/chat/completions"


def read(path: str, body: bytes) -> Call:
    found = table.find(path.encode())
    assert found is not None
    dialect = found[0].dialect
    assert dialect is not None
    return dialect.read(Asked(body, SALT))


def stream(path: str, pieces: list[bytes], limit: int = LIMIT) -> tuple[bytes, Call]:
    """Return what vLLM gets, and what the dialect understood."""
    body = bodies.body(path, b"application/json", limit)
    out = b"".join([body.feed(piece) for piece in pieces])
    call = read(path, body.rest())
    return out + body.tail(call.body), call


def outcome(path: str, pieces: list[bytes]) -> Any:
    """Return what becomes of a body: what vLLM's parser gets and what is metered, or the code of the refusal."""
    try:
        body, call = stream(path, pieces)
    except BadRequestError as error:
        return error.code
    return msgspec.json.decode(body), facts(call)


def facts(call: Call) -> list[Any]:
    return [getattr(call, name) for name in sorted(dir(call)) if name[0] != "_" and name not in ("body", "by")]


def held(path: str, body: bytes) -> Any:
    try:
        call = read(path, body)
    except BadRequestError as error:
        return error.code
    return msgspec.json.decode(call.body), facts(call)


def cuts(body: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(body) + 1) for place in places})
    return [body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True)]


BODY = (
    b'{ "model" : "tiny", "messages":[ {"role":"user","uuid":"mine","content":[{"type":"image_url","image_url":'
    b'{"url":"data:AAAA\\/\\u00e9","uuid":"kept"}, "u\\u0075id" : [1,{"a":2}]},{"uuid":null},'
    b'"\xc3\xa9\xf0\x9f\x98\x80",-1.5e+3,'
    b'[true,{"x":"y"},{"uuid":"gone"}],{"content":{"uuid":1}}]},{"role":"tool","tool_calls":[{"uuid":"kept","f":[{"g":"\\""}]}],'
    b'"content":"x"}, 1, 2.5, null , "s"],"stream":true,"cache_salt":"mine","priority":3,"user":"u","n":2,'
    b'"stream_options":{"include_usage":true},"tools":[{"a":{"b":[]}}]}'
)


def test_at_every_boundary_it_is_what_the_held_path_makes() -> None:
    like = held(CHAT, BODY)
    assert b"gone" not in str(like).encode()
    for at in range(len(BODY) + 1):
        assert outcome(CHAT, [BODY[:at], BODY[at:]]) == like
    assert outcome(CHAT, [BODY[at : at + 1] for at in range(len(BODY))]) == like


def test_cut_short_it_is_refused_as_by_the_held_path() -> None:
    for at in range(len(BODY)):
        assert outcome(CHAT, [BODY[:at]]) == held(CHAT, BODY[:at]) == "invalid_json"


NAMES = st.sampled_from(
    ["model", "messages", "prompt", "input", "uuid", "content", "output", "role", "n", "stream", "x", "é"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
PARTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=4)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("tiny") | VALUES,
        "stream": st.booleans() | st.none(),
        "n": st.integers(-1, 4) | st.none(),
        "user": st.text(max_size=5),
        "cache_salt": VALUES,
        "priority": VALUES,
        "stream_options": st.none() | st.dictionaries(st.sampled_from(["include_usage", "y"]), st.booleans()),
        "messages": PARTS | VALUES,
        "input": PARTS | VALUES,
        "prompt": VALUES | st.lists(st.integers(0, 9)) | st.lists(st.lists(st.integers(0, 9))),
        "documents": PARTS,
        "query": VALUES,
        "task": st.just("embed"),
        "sampling_params": st.just({"n": 2}),
        "token_ids": st.lists(st.integers(0, 9)),
        "content_parts": PARTS,
        "texts": st.lists(st.text()),
    },
)
PATHS = [path for path in bodies.PATHS if "/audio/" not in path]


@given(path=st.sampled_from(PATHS), members=MEMBERS, spaced=st.booleans(), places=st.lists(st.integers(0), max_size=6))
def test_any_body_is_what_the_held_path_makes(path: str, members: Any, spaced: bool, places: list[int]) -> None:
    body = msgspec.json.encode(members)
    if spaced:
        body = msgspec.json.format(body, indent=1)
    random_id = path == "/v1/responses"
    found, like = outcome(path, cuts(body, places)), held(path, body)
    if random_id and not isinstance(like, str):
        found[0].pop("request_id"), like[0].pop("request_id")
    assert found == like


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b","messages":[]}',
        b'{"model":"a","mod\\u0065l":"b","messages":[]}',
        b'{"model":"a","messages":[],"messages":[]}',
        b'{"model":"a","messages":[],"m\\u0065ssages":[{"uuid":"x"}]}',
        b'{"stream":false,"messages":[],"\\u0073tream":true}',
        b'{"cache_s\\u0061lt":"mine","messages":[]}',
        b'{"messages":["\xff"]}',
        b'{"messages":["\xc3"]}',
        b'{"messages":["\xed\xa0\x80"]}',
        b'\xef\xbb\xbf{"messages":[]}',
        '{"messages":[]}'.encode("utf-16"),
        b'{"messages":["\n"]}',
        b'{"messages":["\\x"]}',
        b'{"messages":["\\u12"]}',
        b'{"messages":[}',
        b'{"messages":{]}',
        b'{"messages":[1 2]}',
        b'{"messages":[1,]}',
        b'{"messages":[,1]}',
        b'{"messages":[01]}',
        b'{"messages":[NaN]}',
        b'{"messages":[+1]}',
        b'{"messages":[truefalse]}',
        b'{"messages":[]]}',
        b'{"messages":[]}}',
        b'{"messages":[]}{"messages":[]}',
        b'{"messages":[],}',
        b'{"messages" []}',
        b'{"messages"x:[]}',
        b"{messages:[]}",
        b"{'messages':[]}",
        b'{"a":{"b":1,"c"}}',
        b'{"a":[1,"b":2]}',
        b"[]",
        b'"x"',
        b"1 ",
        b"x",
        b"",
        b" ",
    ],
)
def test_hostile_bodies_are_refused_however_they_are_cut(body: bytes) -> None:
    assert held(CHAT, body) == "invalid_json"
    for at in range(len(body) + 1):
        assert outcome(CHAT, [body[:at], body[at:]]) == "invalid_json"
    assert outcome(CHAT, [body[at : at + 1] for at in range(len(body))]) == "invalid_json"


@pytest.mark.parametrize(("opener", "closer"), [(b"[", b"]"), (b'{"content":', b"}"), (b'{"x":', b"}")])
def test_what_is_too_deep_is_refused(opener: bytes, closer: bytes) -> None:
    def deep(depth: int) -> bytes:
        return b'{"messages":' + opener * (depth - 1) + b"1" + closer * (depth - 1) + b"}"

    assert outcome(CHAT, [deep(MAX_DEPTH)]) == held(CHAT, deep(MAX_DEPTH))
    assert outcome(CHAT, [deep(MAX_DEPTH + 1)]) == "invalid_json"


def test_names_and_numbers_have_a_bound() -> None:
    """They are the only tokens that wait to be whole."""
    for start in (b'{"messages":[1', b'{"messages":{"1', b'{"1'):
        body = JsonBody(Large(other=frozenset({"messages"})), 1 << 20)
        body.feed(start)
        for _ in range(MAX_TOKEN // 2 - 20):
            body.feed(b"11")
        with pytest.raises(BadRequestError):
            body.feed(b"1" * 100)


def test_what_waits_has_a_bound() -> None:
    for members in (b'"tools":["' + b"x" * 2000 + b'"]', b",".join(b'"%d":0' % n for n in range(300))):
        body = b'{"model":"tiny",' + members + b',"messages":[]}'
        with pytest.raises(BadRequestError, match="only `messages` may be large") as error:
            stream(CHAT, [body], limit=1000)
        assert error.value.code == "request_too_large"


@pytest.mark.source
def test_items_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.streamed.json_body.MAX_ITEMS", 3)
    assert outcome(CHAT, [b'{"messages":[{},{},{},{}]}']) == "request_too_large"
    assert outcome("/v1/completions", [b'{"prompt":[1,2,3,4,5]}']) == held("/v1/completions", b'{"prompt":[1,2,3,4,5]}')


def test_large_parts_pass_at_once() -> None:
    """Nothing of a long string waits: each piece goes on as it came."""
    body = JsonBody(Large(parts=frozenset({"messages"})), LIMIT)
    assert body.feed(b'{"model":"tiny","messages":[{"content":"') == b'{"messages":[{"content":"'
    for _ in range(3):
        assert body.feed(b"A" * 100_000) == b"A" * 100_000
    assert body.feed(b'"}]}') == b'"}]'
