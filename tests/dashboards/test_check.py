"""The check finds what nobody gives, and finds nothing in the dashboard as it is."""

import copy
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from dashboards import check, render
from tests.grafana import Dashboard
from tests.servers import ROOT

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
READER = Dashboard(NOW - timedelta(hours=1), NOW, interval=15)


def test_the_dashboard_has_no_problems() -> None:
    assert check.problems() == []


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT tenant FROM weighbridge.usage_events", "weighbridge.usage_events is no view that may be read"),
        ("SELECT tennant FROM weighbridge.usage", "tennant is no column of usage"),
        ("SELECT decision FROM weighbridge.usage", "decision is no column of usage"),
        ("SELECT count() AS n FROM weighbridge.usage WHERE tenant = '$who'", "there is no variable who"),
    ],
)
def test_sql_that_asks_in_vain(sql: str, problem: str) -> None:
    assert list(check.of_sql(sql, ["tenant"])) == [problem]


def test_words_in_quotes_and_aliases_are_no_columns() -> None:
    sql = (
        "SELECT count() AS n, 'nothing' AS said FROM weighbridge.usage WHERE tenant IN (${tenant:sqlstring}) ORDER BY n"
    )
    assert list(check.of_sql(sql, ["tenant"])) == []


@pytest.mark.parametrize(
    ("expression", "legend", "problem"),
    [
        ("sum(weighbridge_request_total)", "", "no service exports weighbridge_request_total"),
        ('weighbridge_requests_total{tenant="a"}', "", "weighbridge_requests_total has no label tenant"),
        ("sum by (tenant) (weighbridge_requests_total)", "", "has the label tenant"),
        ("weighbridge_tokens_total", "{{kind}}", "has the label kind"),
    ],
)
def test_promql_that_asks_in_vain(expression: str, legend: str, problem: str) -> None:
    [found] = check.of_promql(expression, legend)
    assert problem in found


def test_buckets_of_a_histogram_are_known() -> None:
    assert list(check.of_promql("sum by (le) (rate(weighbridge_request_duration_seconds_bucket[1m]))")) == []


def test_a_problem_names_its_panel() -> None:
    board = copy.deepcopy(render.render())
    panel = next(panel for panel in board["panels"] if any("expr" in t for t in panel.get("targets", [])))
    panel["targets"][0]["expr"] = "weighbridge_nonsense"
    [problem] = check.of_dashboard(board)
    assert problem == f"panel {panel['title']!r}: no service exports weighbridge_nonsense"


def test_alerts_use_metrics_that_exist() -> None:
    rules: Any = YAML(typ="safe").load((ROOT / "deploy" / "alerts.yml").read_text())
    found = [
        problem for group in rules["groups"] for rule in group["rules"] for problem in check.of_promql(rule["expr"])
    ]
    assert found == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed")
def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    targets = [target for panel in render.render()["panels"] for target in panel.get("targets", []) if "expr" in target]
    rules = [
        {"record": f"dashboard:{number}", "expr": READER.expand_promql(target["expr"])}
        for number, target in enumerate(targets)
    ]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_bytes(msgspec.json.encode({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(rules)} rules found" in result.stdout
