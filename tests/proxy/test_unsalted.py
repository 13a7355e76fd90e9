"""Paths on which vLLM takes no `cache_salt` are closed unless the operator opens them: tenants would share prefixes there."""

from typing import Any

import msgspec
import pytest

from contracts.settings import load
from proxy.dialects import table
from proxy.dialects.base import Asked
from proxy.settings import ProxySettings
from tests.proxy.memory import Bench, post, responses

BODIES = {
    "/cohere/v2/chat": b'{"model":"tiny","messages":[{"role":"user","content":"x"}]}',
    "/v2/embed": b'{"model":"tiny","texts":["x"]}',
}
CLOSED = pytest.mark.parametrize("path", BODIES)


def test_these_are_all_the_paths_of_prompts_in_json_that_get_no_salt() -> None:
    """A dialect that sets no salt must say so, or use no cache: tokenizers, stored responses, sound and forms."""
    body = b'{"model":"m","messages":[],"token_ids":[1],"sampling_params":{},"tokens":[1],"questions":{},"input":"x"}'
    without = set()
    for route in table.ROUTES:
        if route.dialect is None or route.methods != ("POST",) or "{" in route.path or "/audio/" in route.path:
            continue
        if route.path == "/invocations":  # of several APIs, each with its salt
            continue
        call = route.dialect.read(Asked(body, "salt"))
        if not call.free and "cache_salt" not in msgspec.json.decode(call.body):
            without.add(route.path)
    assert without == set(BODIES) == {route.path for route in table.ROUTES if not route.salted}


@CLOSED
def test_closed(path: str) -> None:
    bench = Bench(unsalted="deny")
    bench.send(post(path, BODIES[path]))
    (answer,) = responses(bench.client.take())
    assert (answer.status, b"WEIGHBRIDGE_UNSALTED=deny" in answer.body) == (403, True)
    assert not bench.upstream.written
    (decision,) = bench.recorder.decisions
    assert (decision.decision, decision.code, decision.tenant) == ("denied", "endpoint_not_allowed", "ten_search")


@CLOSED
@pytest.mark.parametrize(
    "changes", [{"unsalted": "allow"}, {"unsalted": "deny", "enforce": "shadow"}, {"enforce": "off"}]
)
def test_open(path: str, changes: dict[str, Any]) -> None:
    bench = Bench(**changes)
    bench.send(post(path, BODIES[path]))
    assert bench.upstream.written
    (decision,) = bench.recorder.decisions
    assert decision.decision == ("would_deny" if changes.get("enforce") == "shadow" else "admitted")


def test_the_setting() -> None:
    fine = {"upstream": "http://127.0.0.1:8000", "key_pepper": "sixteen bytes or more"}
    assert load(ProxySettings, **fine).plain().traffic(("", 0)).unsalted == "allow"
    assert load(ProxySettings, **fine, unsalted="deny").plain().traffic(("", 0)).unsalted == "deny"
