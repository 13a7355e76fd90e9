import msgspec
import pytest

from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.dialects.chat import Chat
from proxy.dialects.completions import Completions

SALT = "5a17"


def read(body: bytes) -> tuple[Call, dict[str, object]]:
    call = Chat().read(Asked(body, SALT))
    return call, msgspec.json.decode(call.body)


def test_untouched_members_keep_their_bytes() -> None:
    body = b'{"model": "tiny", "messages": [ {"role":"user",  "content":"\\u00e9 \xc3\xa9"} ], "temperature": 1.50}'
    call, _ = read(body)
    assert call.body == (
        b'{"model":"tiny","messages":[ {"role":"user",  "content":"\\u00e9 \xc3\xa9"} ],"temperature":1.50,"cache_salt":"5a17"}'
    )


def test_untrusted_members_are_ours_or_gone() -> None:
    _, sent = read(
        b'{"model":"m","priority":-9,"cache_salt":"other","kv_transfer_params":{},"ec_transfer_params":{},"vllm_xargs":{"a":1},'
        b'"request_id":"theirs","session_id":"theirs"}'
    )
    assert sent == {"model": "m", "cache_salt": SALT}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"", {"include_usage": True, "continuous_usage_stats": True}),
        (b',"stream_options":null', {"include_usage": True, "continuous_usage_stats": True}),
        (b',"stream_options":{"include_usage":false}', {"include_usage": True, "continuous_usage_stats": True}),
        (b',"stream_options":{"x":[1]}', {"x": [1], "include_usage": True, "continuous_usage_stats": True}),
    ],
)
def test_streams_are_asked_for_usage(given: bytes, sent: dict[str, object]) -> None:
    call, body = read(b'{"model":"m","stream":true' + given + b"}")
    assert call.stream
    assert body["stream_options"] == sent


def test_what_the_client_wrote_about_usage_stays_when_it_asks_for_all() -> None:
    call, _ = read(
        b'{"model":"m","stream":true,"stream_options":{ "continuous_usage_stats":true, "include_usage":true }}'
    )
    assert b'{ "continuous_usage_stats":true, "include_usage":true }' in call.body


def test_without_a_stream_nothing_is_asked() -> None:
    """vLLM refuses `stream_options` without `stream`: its refusal, not ours."""
    assert "stream_options" not in read(b'{"model":"m"}')[1]
    assert read(b'{"model":"m","stream_options":{"include_usage":true}}')[1]["stream_options"] == {
        "include_usage": True
    }


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":7}',
        b'{"model":["a"]}',
        b'{"model":"m","stream":1}',
        b'{"model":"m","n":"2"}',
        b'{"model":"m","n":0}',
        b'{"model":"m","n":1e9}',
        b'{"model":"m","n":65537}',
        b'{"model":"m","user":{}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":"yes"}}',
        b'{"model":"' + b"x" * 513 + b'"}',
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError) as error:
        Chat().read(Asked(body, SALT))
    assert error.value.code == "invalid_request"


def test_options_named_twice_are_refused() -> None:
    with pytest.raises(BadRequestError) as error:
        Chat().read(Asked(b'{"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}', SALT))
    assert error.value.code == "invalid_json"


def test_what_is_read() -> None:
    call, _ = read(b'{"model":"m","n":3,"user":"u-1"}')
    assert (call.model, call.stream, call.choices, call.inputs, call.end_user) == ("m", False, 3, 1, "u-1")
    call, _ = read(b"{}")
    assert (call.model, call.choices, call.end_user) == (None, 1, None)


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        (b'"text"', 1),
        (b"[5,6,7]", 1),
        (b"[ 5 ]", 1),
        (b"[" + b" " * 200 + b"5]", 1),
        (b'["a","b","c"]', 3),
        (b'[ "a" ]', 1),
        (b"[[5,6],[7]]", 2),
        (b'[[5],"b"]', 2),
        (b"[]", 1),
        (b"null", 1),
    ],
)
def test_prompts_are_counted(prompt: bytes, count: int) -> None:
    call = Completions().read(Asked(b'{"model":"m","n":2,"prompt":' + prompt + b"}", SALT))
    assert (call.inputs, call.choices) == (count, 2 * count)


def test_embedded_prompts_count_too() -> None:
    call = Completions().read(Asked(b'{"model":"m","prompt":"a","prompt_embeds":["x","y"]}', SALT))
    assert call.inputs == 3
