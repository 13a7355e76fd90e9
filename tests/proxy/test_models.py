import asyncio

import pytest

from proxy.models import Catalog, ModelWatch, Served, read
from tests.proxy.recorded import load


def test_recorded_list() -> None:
    body = load("models").body
    catalog = read(body)
    assert (catalog.listed, catalog.by_name, catalog.default) == (True, {"tiny": Served("tiny", "tiny")}, "tiny")
    assert catalog.listing(["tiny", "other"]) == body
    assert catalog.listing(["other"]) == b'{"object":"list","data":[]}'


def test_the_list_is_shortened_and_keeps_its_order() -> None:
    catalog = read(b'{"object":"list","data":[{"id":"a","x":[1]},{"id":"b" , "parent":"a"},{"id":"c"}]}')
    assert catalog.listing({"c", "b"}) == b'{"object":"list","data":[{"id":"b" , "parent":"a"},{"id":"c"}]}'


def test_adapters_name_their_base() -> None:
    catalog = read(
        b'{"data":[{"id":"base","root":"org/base","parent":null},{"id":"sql","root":"/lora","parent":"base"}]}'
    )
    assert catalog.by_name["sql"] == Served("sql", "base")
    assert catalog.default == "base"


def test_contexts_are_those_of_the_models_below() -> None:
    assert read(load("models").body).contexts == {"tiny": 2048}
    catalog = read(
        b'{"data":[{"id":"base","parent":null,"max_model_len":2048},{"id":"sql","parent":"base","max_model_len":null},'
        b'{"id":"other"},{"id":"lora","parent":"other"}]}'
    )
    assert catalog.contexts == {"base": 2048, "sql": 2048}


class Upstream:
    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes] | OSError] = []
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> tuple[int, bytes]:
        self.asked += 1
        await self.gate.wait()
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, OSError):
            raise answer
        return answer


LIST = b'{"data":[{"id":"tiny"}]}'


async def test_failures_change_nothing() -> None:
    upstream, catalogs = Upstream(), list[Catalog]()
    upstream.answers = [OSError("down"), (401, LIST), (200, b"<html>"), (200, LIST), OSError("down again")]
    watch = ModelWatch(upstream.fetch, 30, catalogs.append)
    for _ in range(5):
        await watch.refresh()
    assert catalogs == [read(LIST)]


async def test_one_look_serves_all_who_ask() -> None:
    upstream, catalogs = Upstream(), list[Catalog]()
    upstream.answers = [(200, LIST)]
    upstream.gate.clear()
    watch = ModelWatch(upstream.fetch, 30, catalogs.append)
    assert watch.may_look()
    asking = [asyncio.create_task(watch.refresh()) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()  # its client left: the others still wait
    await asyncio.sleep(0)
    assert watch.may_look()
    upstream.gate.set()
    await asyncio.gather(*asking[1:])
    assert (upstream.asked, len(catalogs)) == (1, 1)
    assert not watch.may_look()


async def test_it_keeps_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second while there is no list, then at the interval."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise asyncio.CancelledError

    upstream = Upstream()
    upstream.answers = [OSError("down"), OSError("down"), (200, LIST), OSError("down")]
    monkeypatch.setattr("proxy.models.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await ModelWatch(upstream.fetch, 30, lambda _: None).run()
    assert pauses == [1.0, 1.0, 30, 30]
