import msgspec
import pytest

from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.dialects.batch import Batch
from proxy.dialects.cohere import Cohere
from proxy.dialects.generate import Generate

SALT = "5a17"


def read(body: bytes) -> tuple[Call, dict[str, object]]:
    call = Generate().read(Asked(body, SALT))
    return call, msgspec.json.decode(call.body)


def test_choices_and_untrusted_fields_stand_inside() -> None:
    call, sent = read(
        b'{"token_ids":[1],"sampling_params":{"n":3,"extra_args":{"kv_transfer_params":{}}},"priority":-1}'
    )
    assert (call.choices, call.stream, call.model) == (3, False, None)
    assert sent == {"token_ids": [1], "sampling_params": {"n": 3}, "cache_salt": SALT}
    untouched = b'{"sampling_params":{ "n" : 2 }}'
    assert b'{ "n" : 2 }' in read(untouched)[0].body


def test_streams_are_asked_for_usage() -> None:
    call, sent = read(b'{"sampling_params":{},"stream":true,"stream_options":{"include_usage":true}}')
    assert (call.keep_usage, call.keep_continuous) == (True, False)
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert "stream_options" not in read(b'{"sampling_params":{}}')[1]


def test_nobody_names_media() -> None:
    """Under its name vLLM keeps what it made of an image, for every tenant."""
    parts = b'[{"type":"image_url","url":"u","uuid":"logo"},{"type":"image_url","url":"v"}]'
    _, sent = read(b'{"sampling_params":{},"content_parts":' + parts + b',"features":null}')
    assert sent["content_parts"] == [{"type": "image_url", "url": "u"}, {"type": "image_url", "url": "v"}]
    assert "features" not in sent


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"sampling_params":null}',
        b'{"sampling_params":{"n":0}}',
        b'{"sampling_params":{"n":1,"n":2}}',
        b'{"sampling_params":{"n":true}}',
        b'{"sampling_params":{},"features":{"mm_hashes":{"image":["x"]}}}',
        b'{"sampling_params":{},"content_parts":7}',
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read(body)


def test_a_batch_counts_its_conversations() -> None:
    call = Batch().read(Asked(b'{"model":"m","messages":[[{"role":"user"}],[],[]],"user":"u","priority":3}', SALT))
    assert (call.inputs, call.choices, call.stream, call.end_user) == (3, 3, False, "u")
    assert msgspec.json.decode(call.body)["cache_salt"] == SALT
    assert b"priority" not in call.body
    assert Batch().read(Asked(b"{}", SALT)).inputs == 1
    with pytest.raises(BadRequestError):
        Batch().read(Asked(b'{"messages":{}}', SALT))


def test_cohere() -> None:
    """vLLM reads no `cache_salt` there, and would be none the wiser for one."""
    call = Cohere().read(
        Asked(b'{"model":"m","messages":[],"stream":true,"priority":-4,"kv_transfer_params":{}}', SALT)
    )
    assert (call.model, call.stream) == ("m", True)
    assert msgspec.json.decode(call.body) == {"model": "m", "messages": [], "stream": True}
