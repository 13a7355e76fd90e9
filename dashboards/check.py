"""Finds what the dashboards ask for and nobody gives: metrics, labels, views and columns that `contracts` does not name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from contracts import events, metrics, tables
from dashboards import datasources, render

_ROLLED_UP: Final = frozenset({tables.BUCKET, *tables.GROUPS, *tables.SUMS})


def _fields(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(struct))


COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    tables.USAGE: _fields(events.UsageData) | set(tables.ENVELOPE),
    tables.REQUESTS: _fields(events.RequestData) | set(tables.ENVELOPE),
    tables.USAGE_MINUTE: _ROLLED_UP,
    tables.USAGE_HOUR: _ROLLED_UP,
    tables.USAGE_DAY: _ROLLED_UP,
    tables.INSTANCE_SAMPLES: _fields(events.InstanceData),
    tables.SCALING_SIGNALS: _fields(events.ScalingData),
    tables.PRODUCERS: frozenset({"producer", "epoch", "contiguous", "highest", "missing", "gaps", "last_stored_at"}),
}
"""What may be read from each view."""

_WORDS: Final = re.compile(
    "select|distinct|from|where|group|by|order|desc|asc|limit|and|or|not|in|is|null|as|union|all", re.IGNORECASE
)
_MACRO: Final = re.compile(r"\$__\w+")
_VARIABLE: Final = re.compile(r"\$\{?(?!__)(\w+)(?::\w+)?\}?")
_LITERAL: Final = re.compile(r"'[^']*'")
_ALIAS: Final = re.compile(r"\bAS (\w+)")
_VIEW: Final = re.compile(rf"\b{tables.DATABASE}\.(\w+)")
_NAME: Final = re.compile(r"\b([a-zA-Z_]\w*)\b(?!\()")
_METRIC: Final = re.compile(r"\b(weighbridge_\w+)(?:\{([^}]*)\})?")
_MATCHED_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED: Final = re.compile(r"\b(?:by|without) \(([^)]*)\)")
_LEGEND: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_OF_EVERY_TARGET: Final = frozenset({"instance", "job", "le"})
_BY_NAME: Final = {metric.name: metric for metric in metrics.ALL}


def problems() -> list[str]:
    """Return one line for everything that the rendered dashboard asks for in vain; none: all is well."""
    return list(of_dashboard(render.render()))


def of_dashboard(board: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of a dashboard as Grafana stores it, each with the title of its panel."""
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    for name, variable in variables.items():
        for problem in of_sql(variable["query"]["rawSql"], variables):
            yield f"variable {name}: {problem}"
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            for problem in _of_target(target, variables):
                yield f"panel {panel['title']!r}: {problem}"


def _of_target(target: Mapping[str, Any], variables: Iterable[str]) -> Iterator[str]:
    if target["datasource"]["uid"] == datasources.CLICKHOUSE.uid:
        return of_sql(target["rawSql"], variables)
    return of_promql(target["expr"], target.get("legendFormat", ""))


def of_sql(sql: str, variables: Iterable[str]) -> Iterator[str]:
    """Yield what a query names that is no view, no column of its views, and no variable of the dashboard."""
    for variable in sorted(set(_VARIABLE.findall(sql)) - set(variables)):
        yield f"there is no variable {variable}"
    plain = _LITERAL.sub("''", _VARIABLE.sub("''", _MACRO.sub("", sql)))
    views = set(_VIEW.findall(plain))
    for view in sorted(views - COLUMNS.keys()):
        yield f"{tables.DATABASE}.{view} is no view that may be read"
    if not views <= COLUMNS.keys():
        return
    known = {column for view in views for column in COLUMNS[view]} | set(_ALIAS.findall(plain))
    for name in sorted(set(_NAME.findall(_VIEW.sub("", plain))) - known):
        if not _WORDS.fullmatch(name):
            yield f"{name} is no column of {', '.join(sorted(views))}"


def of_promql(expression: str, legend: str = "") -> Iterator[str]:
    """Yield the metrics and labels of an expression, and of its legend, that no service exports."""
    labels = set(_OF_EVERY_TARGET)
    for name, matchers in _METRIC.findall(expression):
        metric = _BY_NAME.get(name) or _BY_NAME.get(re.sub(r"_(bucket|sum|count)$", "", name))
        if metric is None:
            yield f"no service exports {name}"
            continue
        labels.update(metric.labels)
        for label in _MATCHED_LABEL.findall(matchers):
            if label not in {*metric.labels, *_OF_EVERY_TARGET}:
                yield f"{name} has no label {label}"
    grouped = {label.strip() for group in _GROUPED.findall(expression) for label in group.split(",")}
    for label in sorted((grouped | set(_LEGEND.findall(legend))) - labels):
        yield f"no metric of {expression!r} has the label {label}"
