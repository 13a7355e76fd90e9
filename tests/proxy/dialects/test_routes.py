"""The table against all routes that vLLM 0.32.0 was found to have: each is served, or refused for a reason."""

import re
from pathlib import Path

import msgspec

from proxy.dialects import table
from proxy.dialects.refused import REFUSED

RECORDED = Path(__file__).parents[2] / "vllm" / "routes.json"
OURS = {"HEAD"}
"""A method that vLLM does not take on such paths; its answer to that passes."""


def routes() -> dict[str, list[str]]:
    found: dict[str, list[str]] = msgspec.json.decode(RECORDED.read_bytes())["routes"]
    return found


def unaccounted(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return those routes (path → methods) that nobody has decided about."""
    served = {route.path: set(route.methods) for route in table.ROUTES}
    return {
        path: methods
        for path, methods in found.items()
        if path not in REFUSED and not set(methods) <= served.get(path, set())
    }


def test_every_route_is_served_or_refused() -> None:
    assert len(routes()) >= 80
    assert unaccounted(routes()) == {}


def test_a_route_that_nobody_decided_about_is_found() -> None:
    assert unaccounted(routes() | {"/v9/new": ["POST"], "/v1/models": ["GET", "DELETE"]}) == {
        "/v9/new": ["POST"],
        "/v1/models": ["GET", "DELETE"],
    }


def test_nothing_is_decided_about_that_vllm_does_not_have() -> None:
    found = routes()
    assert set(REFUSED) <= set(found)
    for route in [each for each in table.ROUTES if not each.own]:
        assert set(route.methods) - OURS <= set(found[route.path]), route.path


def test_the_documents_name_every_route_under_its_kind() -> None:
    page = (Path(__file__).parents[3] / "docs" / "endpoints.md").read_text()
    chapters = {chapter.partition("\n")[0]: chapter for chapter in page.split("\n## ")}
    cells = {kind: "\n".join(re.findall(r"(?m)^\| (.*?) \|", text)) for kind, text in chapters.items()}
    rows = {kind: set(re.findall(r"`(/[^` ]*)`", text)) for kind, text in cells.items()}
    served = rows["Metered"] | rows["Recorded, without tokens"]
    assert served == {route.path for route in table.ROUTES if route.dialect is not None}
    assert rows["Free"] == {route.path for route in table.ROUTES if route.dialect is None}
    assert rows["Refused"] == set(REFUSED)
