"""What is said of a vLLM server that wants a key, or is none."""

import pytest
from pydantic import SecretStr

from cli.upstream import UNKNOWN_MODEL, served_model
from tests.servers import free_port

MODELS = {"data": [{"id": "llama"}]}


def test_the_upstream_is_asked_with_its_key(api):
    api.answers["GET /v1/models"] = MODELS
    assert served_model(api.url, SecretStr("vllm-key")) == ("llama", None)
    assert api.tokens == {"Bearer vllm-key"}


@pytest.mark.parametrize(
    ("answer", "key", "says"),
    [
        ((401, {}), None, "asks for a key: set WEIGHBRIDGE_UPSTREAM_API_KEY"),
        ((401, {}), SecretStr("wrong"), "refuses the key in WEIGHBRIDGE_UPSTREAM_API_KEY"),
        ((503, {}), None, "answers 503"),
        ((200, b"<html>"), None, "names no model"),
        ((200, {"data": []}), None, "names no model"),
    ],
)
def test_what_is_amiss_is_said(api, answer, key, says):
    api.answers["GET /v1/models"] = answer
    model, amiss = served_model(api.url, key)
    assert model == UNKNOWN_MODEL
    assert amiss is not None
    assert says in amiss
    assert "wrong" not in amiss


def test_an_upstream_that_is_away_is_said():
    (_, amiss) = served_model(f"http://127.0.0.1:{free_port()}", None)
    assert amiss is not None
    assert "does not answer yet" in amiss
