import msgspec
import pytest

from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.dialects.responses import Responses, StoredResponse, check_owner, new_id
from proxy.ports import Principal
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import Bench, get, post, responses
from tests.proxy.recorded import load

SALT, OTHER = "5a17" * 16, "0dd5" * 16


def read(body: bytes, salt: str = SALT) -> tuple[Call, dict[str, object]]:
    call = Responses().read(Asked(body, salt))
    return call, msgspec.json.decode(call.body)


def refusal(dialect: Responses | StoredResponse, asked: Asked) -> tuple[str, str]:
    with pytest.raises(BadRequestError) as error:
        dialect.read(asked)
    return error.value.code, str(error.value)


def test_what_is_read() -> None:
    call, sent = read(
        b'{"model":"m","input":"x","stream":true,"user":"u","priority":-1,"vllm_xargs":{},"cache_salt":"y"}'
    )
    assert (call.model, call.stream, call.end_user, call.inputs, call.choices) == ("m", True, "u", 1, 1)
    assert sent.pop("request_id")
    assert sent == {"model": "m", "input": "x", "stream": True, "user": "u", "cache_salt": SALT}


def test_every_response_gets_an_id_of_its_own_that_only_its_tenant_may_name() -> None:
    first, second = (
        read(b'{"input":"x","request_id":"resp_of_the_clients_choice"}')[1]["request_id"] for _ in range(2)
    )
    assert isinstance(first, str)
    assert first != second
    assert read(b'{"input":"x","previous_response_id":"%b"}' % first.encode())[1]["previous_response_id"] == first
    assert StoredResponse().read(Asked(b"", SALT, parameter=first)).free
    not_found = ("response_not_found", f"Response with id '{first}' not found.")
    assert refusal(StoredResponse(), Asked(b"", OTHER, parameter=first)) == not_found
    body = b'{"input":"x","previous_response_id":"%b"}' % first.encode()
    assert refusal(Responses(), Asked(body, OTHER)) == not_found


def test_an_id_that_was_changed_anywhere_is_nobodys() -> None:
    whole = new_id(SALT)
    check_owner(whole, SALT)
    changed = [
        whole[:place] + ("0" if whole[place] != "0" else "1") + whole[place + 1 :] for place in range(len(whole))
    ]
    for wrong in [*changed, whole[:-1], whole + "0", "", "resp_", "resp_é"]:
        with pytest.raises(BadRequestError):
            check_owner(wrong, SALT)


@pytest.mark.parametrize("background", [b"true", b"1", b'"true"'])
def test_what_runs_in_the_background_is_refused(background: bytes) -> None:
    """vLLM answers it before it has generated anything."""
    code, words = refusal(Responses(), Asked(b'{"input":"x","background":' + background + b"}", SALT))
    assert code == "invalid_request"
    assert "background" in words


def test_a_response_in_the_foreground_says_so_as_it_likes() -> None:
    for background in (b"false", b"null"):
        assert read(b'{"input":"x","background":' + background + b"}")[1]["background"] in (False, None)


def test_reading_again_is_recorded_and_not_billed_again() -> None:
    bench = Bench()
    salt = bench.lane.desk.house.salt("ten_search")
    again = load("responses_retrieve")
    for request in (
        get(f"/v1/responses/{new_id(salt)}?stream=false"),
        post(f"/v1/responses/{new_id(salt)}/cancel", b"{}"),
    ):
        bench.forget()
        bench.send(request)
        assert bytes(bench.upstream.written).startswith(request.partition(b" HTTP")[0])
        bench.answer(again.wire())
        (response,) = responses(bench.client.take())
        assert response.body == again.body
        usage = bench.usage
        assert (usage.input_tokens, usage.output_tokens, usage.accuracy) == (None, None, "exact")
        assert (usage.dialect, usage.outcome) == ("responses", "completed")


def test_a_key_of_few_models_reads_the_responses_of_its_tenant() -> None:
    """Which model made a response is not known any more; what the key may do otherwise still counts."""
    bench = Bench()
    path = f"/v1/responses/{new_id(bench.lane.desk.house.salt('ten_search'))}"
    for limits, sent in (
        ({"models": ("adapter",)}, True),
        ({"endpoints": ("/v1/completions",)}, False),
    ):
        bench.forget()
        bench.directory.known[KEY] = Principal(msgspec.structs.replace(KEY_RECORD, **limits), {})
        bench.send(get(path))
        assert bool(bench.upstream.written) == sent
        assert bench.recorder.decisions[0].model is None
        bench.answer(load("responses_retrieve").wire() if sent else b"")
        assert bool(bench.recorder.closes) == sent


@pytest.mark.parametrize("salt", [OTHER, ""])
def test_another_tenants_response_never_reaches_vllm(salt: str) -> None:
    bench = Bench()
    theirs = new_id(salt)
    requests = [
        get(f"/v1/responses/{theirs}"),
        post(f"/v1/responses/{theirs}/cancel", b"{}"),
        post("/v1/responses", b'{"input":"x","previous_response_id":"%b"}' % theirs.encode()),
    ]
    for request in requests:
        bench.send(request)
        (response,) = responses(bench.client.take())
        assert response.status == 404
        error = msgspec.json.decode(response.body)["error"]
        assert (error["code"], error["param"]) == ("response_not_found", "response_id")
    assert not bench.upstream.written
    assert [decision.code for decision in bench.recorder.decisions] == ["response_not_found"] * 3
