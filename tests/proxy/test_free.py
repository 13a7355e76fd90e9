"""What passes unmetered: the list of models, shortened for keys that may use some only; paths that the operator opens."""

import asyncio

import msgspec
import pytest

from contracts.settings import SettingsError, load
from proxy.dialects import table
from proxy.dialects.refused import REFUSED
from proxy.models import ModelWatch
from proxy.ports import Principal
from proxy.settings import ProxySettings
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import Bench, Response, get, post, responses

LIST = b'{"object":"list","data":[{"id":"a","root":"x"},{"id":"b","parent":"a"},{"id":"c"}]}'


class Fleet:
    """An upstream whose list of models can change, or be away."""

    def __init__(self, *models: str | None) -> None:
        self.list: bytes | None = LIST
        self.looks = 0
        self.bench = Bench(kept=1)
        desk = self.bench.lane.desk
        desk.models = ModelWatch(self.fetch, 30, lambda catalog: setattr(desk.house, "models", catalog))
        allowed = None if models == (None,) else models
        key = msgspec.structs.replace(KEY_RECORD, models=allowed)
        self.bench.directory.known[KEY] = Principal(key, {})

    async def fetch(self) -> tuple[int, bytes]:
        self.looks += 1
        if self.list is None:
            raise OSError("away")
        return 200, self.list

    async def ask(self, method: str = "GET") -> Response:
        self.bench.send(get("/v1/models").replace(b"GET", method.encode(), 1))
        async with asyncio.timeout(120):
            while not self.bench.client.written:
                await asyncio.sleep(0)
        (response,) = responses(self.bench.client.take(), method=method)
        assert response.whole
        assert not self.bench.recorder.decisions
        return response


async def test_a_key_with_models_sees_only_these() -> None:
    fleet = Fleet("c", "b", "gone")
    response = await fleet.ask()
    expected = b'{"object":"list","data":[{"id":"b","parent":"a"},{"id":"c"}]}'
    assert (response.status, response.body) == (200, expected)
    assert response.header("content-type") == "application/json"
    assert response.header("content-length") == str(len(expected))
    assert response.header("x-request-id") == "req_000001"
    assert not fleet.bench.upstream.written, "vLLM's own answer would name others"
    head = await fleet.ask("HEAD")
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(expected)))
    assert fleet.looks == 1, "a look a second is enough"


async def test_a_plan_with_models_shows_only_these() -> None:
    fleet = Fleet(None)
    fleet.bench.directory.known[KEY] = Principal(KEY_RECORD, {}, plan_models=(frozenset("ab"), frozenset("bc")))
    assert (await fleet.ask()).body == b'{"object":"list","data":[{"id":"b","parent":"a"}]}'


async def test_a_key_that_may_use_none_sees_none() -> None:
    assert (await Fleet().ask()).body == b'{"object":"list","data":[]}'


async def test_a_key_for_all_models_gets_what_vllm_says() -> None:
    fleet = Fleet(None)
    fleet.bench.send(get("/v1/models"))
    fleet.bench.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LIST) + LIST)
    (response,) = responses(fleet.bench.client.take(), method="GET")
    assert response.body == LIST


async def test_without_vllm_there_is_no_list_but_the_last_known_one() -> None:
    fleet = Fleet("a")
    fleet.list = None
    response = await fleet.ask()
    assert (response.status, msgspec.json.decode(response.body)["error"]["code"]) == (502, "upstream_unreachable")
    fleet.list = LIST
    await fleet.bench.lane.desk.models.refresh()
    fleet.list = None
    await fleet.bench.lane.desk.models.refresh()
    assert (await fleet.ask()).body == b'{"object":"list","data":[{"id":"a","root":"x"}]}'


def test_an_opened_path_passes_with_a_key_unrecorded() -> None:
    bench = Bench(free_paths=("/tokenizer_info",))
    bench.send(post("/tokenizer_info?a=b", b"{}"))
    assert bench.upstream.written.startswith(b"POST /tokenizer_info?a=b HTTP/1.1\r\n")
    bench.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    assert [response.status for response in responses(bench.client.take())] == [200]
    assert not bench.recorder.decisions
    bench.send(get("/tokenizer_info", key=None))
    assert [response.status for response in responses(bench.client.take(), method="GET")] == [401]
    bench.send(get("/tokenizer_info/x"))
    assert [response.status for response in responses(bench.client.take(), method="GET")] == [404]


METERED = [route.path.replace("{response_id}", "resp_1") for route in table.ROUTES if route.dialect is not None]


@pytest.mark.parametrize(
    "path",
    [
        *METERED,
        "load",
        "/load?x=y",
        "/v1/*",
        "/adapters/{name}",
        "/%6coad",
        "//load",
        "/load/",
        "/v1/../load",
        "/",
        "/a b",
    ],
)
def test_a_path_that_cannot_be_opened_stops_the_start_with_its_name(path: str) -> None:
    fine = {"upstream": "http://127.0.0.1:8000", "key_pepper": "sixteen bytes or more"}
    with pytest.raises(SettingsError, match="WEIGHBRIDGE_FREE_PATHS") as caught:
        load(ProxySettings, **fine, free_paths=f"/load,{path}")
    assert path in str(caught.value)


def test_opened_paths_reach_the_traffic_side() -> None:
    settings = load(
        ProxySettings,
        upstream="http://127.0.0.1:8000",
        key_pepper="sixteen bytes or more",
        free_paths=" /load, /version,",
    )
    traffic = settings.plain().traffic(("127.0.0.1", 1))
    assert traffic.free_paths == ("/load", "/version")
    assert set(table.free(traffic.free_paths)) == {b"/load", b"/version"}
    found = table.find(b"/version", table.free(traffic.free_paths))
    assert found is not None
    assert found[0].methods == ("GET", "HEAD"), "the table's own routes stay as they are"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/metrics", REFUSED["/metrics"]),
        ("/metrics/", REFUSED["/metrics"]),
        ("/sleep?level=1", REFUSED["/sleep"]),
        ("/adapters/sql", REFUSED["/adapters/{adapter_name}"]),
    ],
)
def test_a_closed_path_says_why(path: str, why: str) -> None:
    bench = Bench()
    bench.send(post(path, b"{}"))
    (response,) = responses(bench.client.take())
    error = msgspec.json.decode(response.body)["error"]
    assert (response.status, error["code"]) == (404, "unknown_endpoint")
    assert why in error["message"]
    assert not bench.upstream.written


def test_nothing_is_both_served_and_refused() -> None:
    assert not {route.path for route in table.ROUTES} & set(REFUSED)
