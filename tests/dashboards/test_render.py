"""The committed dashboard is the one that the code describes, and Grafana could show it."""

from itertools import pairwise, product
from typing import Any

import msgspec
import pytest

from dashboards import datasources, fleet, live, queries, render
from dashboards.live import PromQL


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return render.render()


def test_committed_file_is_up_to_date() -> None:
    assert render.FILE.read_text() == render.text(), "run `weighbridge dashboards render`"


def test_write_returns_where(tmp_path: Any, board: dict[str, Any]) -> None:
    path = render.write(tmp_path / "fleet.json")
    assert msgspec.json.decode(path.read_bytes()) == board


def test_rendering_twice_gives_the_same() -> None:
    assert render.text() == render.text()


def test_panels_have_ids_and_lie_side_by_side(board: dict[str, Any]) -> None:
    panels = board["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = set(product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells


def test_rows_stand_in_the_order_of_the_sections(board: dict[str, Any]) -> None:
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert [row["title"] for row in rows] == list(fleet.SECTIONS)
    assert all(above["gridPos"]["y"] < below["gridPos"]["y"] for above, below in pairwise(rows))


def test_every_query_is_on_the_dashboard(board: dict[str, Any]) -> None:
    targets = [target for panel in board["panels"] for target in panel.get("targets", [])]
    shown = {target.get("rawSql") for target in targets} | {target.get("expr") for target in targets}
    choices = {variable["query"]["rawSql"] for variable in board["templating"]["list"]}
    assert {query.text for query in queries.ALL} <= shown | choices
    assert {query.expression for query in promql()} <= shown


def test_a_panel_has_one_data_source_and_every_query_a_letter(board: dict[str, Any]) -> None:
    known = {datasources.CLICKHOUSE.uid, datasources.PROMETHEUS.uid}
    for panel in board["panels"]:
        targets = panel.get("targets", [])
        assert {target["datasource"]["uid"] for target in targets} <= {panel.get("datasource", {}).get("uid")} & known
        letters = [target["refId"] for target in targets]
        assert letters == sorted(set(letters))


def test_series_are_read_as_series_and_named_by_a_column_that_exists(board: dict[str, Any]) -> None:
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            if "rawSql" in target:
                assert target["format"] == (1 if panel["type"] == "table" else 0), panel["title"]
        name = panel.get("fieldConfig", {}).get("defaults", {}).get("displayName")
        if name:
            label = name.removeprefix("${__field.labels.").removesuffix("}")
            assert all(label in target["rawSql"] for target in panel["targets"]), panel["title"]


def promql() -> list[PromQL]:
    values = [value for value in vars(live).values() if isinstance(value, PromQL | tuple)]
    return [query for value in values for query in (value if isinstance(value, tuple) else (value,))]
