"""Every route of real vLLM is accounted for, and what pooling models are asked is billed what the engine counted."""

import asyncio
import subprocess
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from contracts.events import UsageData
from proxy.dialects import table
from proxy.dialects.refused import REFUSED
from tests.proxy.dialects.test_routes import unaccounted
from tests.proxy.fakes import KEY, MemoryDirectory, MemoryRecorder
from tests.proxy.memory import config

with warnings.catch_warnings():  # mitmproxy imports what imports pyasn1 by names that it deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from proxy.master import Traffic, serve

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
TURN = {"role": "user", "content": "weigh me"}
EMBED: list[tuple[str, dict[str, Any], int]] = [
    ("/v1/embeddings", {"input": "a bridge"}, 1),
    ("/v1/embeddings", {"input": ["a", "b c"], "encoding_format": "base64"}, 2),
    ("/v1/embeddings", {"input": [[1, 2, 3], [4]], "encoding_format": "bytes"}, 2),
    ("/v1/embeddings", {"input": ["a", "b c", "d"], "encoding_format": "bytes_only"}, 3),
    ("/v1/embeddings", {"messages": [TURN, TURN]}, 1),
    ("/v1/embeddings", {"input": [[TURN], [TURN]]}, 2),
    ("/v2/embed", {"texts": ["a", "b c"], "embedding_types": ["float", "base64"]}, 2),
    ("/pooling", {"input": ["a", "b c"]}, 2),
    ("/pooling", {"input": [1, 2, 3], "encoding_format": "bytes"}, 1),
    ("/pooling", {"input": "a", "encoding_format": "bytes_only"}, 1),
    ("/score", {"queries": "a", "documents": ["b", "c d"]}, 2),
    ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c", "d"]}, 2),
    ("/rerank", {"query": "a", "documents": ["b", "c", "d e"], "top_n": 1}, 3),
    ("/v1/rerank", {"query": "a", "documents": ["b"]}, 1),
    ("/v2/rerank", {"query": "a", "documents": ["b", "c"]}, 2),
]
CLASSIFY: list[tuple[str, dict[str, Any], int]] = [("/classify", {"input": ["a bridge", "b"]}, 2)]
GENERATE: list[tuple[str, dict[str, Any], int]] = [
    ("/generative_scoring", {"query": "is it", "items": ["a", "b c"], "label_token_ids": [5, 6]}, 2),
    ("/tokenize", {"prompt": "a bridge"}, 1),
    ("/detokenize", {"tokens": [40, 41]}, 1),
]


@asynccontextmanager
async def before(vllm: Any) -> AsyncIterator[tuple[str, MemoryRecorder]]:
    """Run the traffic side before a vLLM; what is recorded stays in memory."""
    recorder, registry = MemoryRecorder(), CollectorRegistry()
    settings = config(upstream=vllm.url, upstream_api_key=vllm.key)
    started: asyncio.Future[Traffic] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, recorder, MemoryDirectory(), registry, started.set_result))
    traffic = await started
    yield f"http://127.0.0.1:{traffic.port}", recorder
    await traffic.drain(5)
    await serving


def blank(headers: httpx.Headers, body: bytes) -> tuple[list[str], Any]:
    """Return an answer without what differs between two: the names of its headers, ids and times blanked."""
    names = sorted(
        set(headers) - {"x-request-id", "date", "server", "connection", "content-length", "transfer-encoding"}
    )
    if not body.startswith(b"{"):
        return names, body
    given = msgspec.json.decode(body)
    return names, {name: value for name, value in given.items() if name not in ("id", "created")}


async def ask(vllm: Any, cases: list[tuple[str, dict[str, Any], int]]) -> None:
    """Send each directly and through the proxy: the same answer, and usage that is the growth of the engine's counters."""
    async with before(vllm) as (url, recorder), httpx.AsyncClient(timeout=120) as client:
        for number, (path, members, inputs) in enumerate(cases, 1):
            given = {"model": "tiny"} | members
            direct = await client.post(vllm.url + path, json=given, headers={"authorization": f"Bearer {vllm.key}"})
            counters = await asyncio.to_thread(vllm.counters)
            through = await client.post(url + path, json=given, headers={"authorization": f"Bearer {KEY.decode()}"})
            grown = await asyncio.to_thread(vllm.counters)
            assert direct.status_code == through.status_code == 200, (path, direct.text, through.text)
            assert blank(through.headers, through.content) == blank(direct.headers, direct.content), path
            assert len(recorder.closes) == number
            growth = {name: grown[name] - counters[name] for name in counters}
            check(path, recorder.closes[-1], inputs, growth)


def check(path: str, usage: UsageData, inputs: int, growth: dict[str, int]) -> None:
    assert (usage.endpoint, usage.inputs, usage.accuracy, usage.outcome) == (path, inputs, "exact", "completed")
    if path in ("/tokenize", "/detokenize"):
        assert (usage.input_tokens, usage.output_tokens, growth) == (None, None, {"prompt": 0, "generation": 0})
    else:
        assert growth["prompt"] > 0
        assert (path, usage.input_tokens, usage.output_tokens or 0) == (path, growth["prompt"], growth["generation"])


def test_embeddings_poolings_scores_and_ranks(embedder):
    asyncio.run(ask(embedder, EMBED))


def test_classes(classifier):
    asyncio.run(ask(classifier, CLASSIFY))


def test_scores_and_tokens_of_a_model_that_generates(vllm):
    asyncio.run(ask(vllm, GENERATE))


def test_every_pooling_route_was_asked():
    asked = {path for path, _, _ in [*EMBED, *CLASSIFY, *GENERATE]}
    names = {"embeddings", "embed", "pooling", "classify", "score", "rerank", "tokenize", "detokenize"}
    assert {route.path for route in table.ROUTES if route.dialect is not None and route.dialect.name in names} <= asked


def test_every_route_of_this_vllm_is_accounted_for_and_recorded(vllm_python):
    """Fails for a version with other routes: decide about each, then record the list (`list_routes.py > routes.json`)."""
    command = [str(vllm_python), str(HERE / "list_routes.py")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    now = msgspec.json.decode(printed)
    assert unaccounted(now["routes"]) == {}
    assert now == msgspec.json.decode((HERE / "routes.json").read_bytes())


def test_a_running_server_has_no_route_that_is_not_recorded(vllm, embedder, classifier):
    recorded = msgspec.json.decode((HERE / "routes.json").read_bytes())["routes"]
    for server in (vllm, embedder, classifier):
        paths = httpx.get(f"{server.url}/openapi.json", timeout=30).json()["paths"]
        assert len(paths) > 10
        for path, operations in paths.items():
            assert {method.upper() for method in operations} <= set(recorded[path]), path
            assert path in REFUSED or table.find(path.replace("{response_id}", "resp_1").encode()) is not None
