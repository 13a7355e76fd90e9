"""Grafana's side of a dashboard, for tests: macros and variables filled in as Grafana and its ClickHouse plugin do."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

ALL = "$__all"
_VARIABLE = re.compile(r"\$\{(\w+):sqlstring\}")
_MACRO = re.compile(r"\$__(\w+)(?:\(([^()]*)\))?")


@dataclass(frozen=True)
class Dashboard:
    """What a reader has chosen: a time range, and values of variables (none: All). The interval is Grafana's, in seconds."""

    start: datetime
    end: datetime
    interval: int
    chosen: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def expand(self, sql: str) -> str:
        """Return SQL as it reaches ClickHouse."""
        return _MACRO.sub(self._macro, _VARIABLE.sub(self._variable, self._conditional_all(sql)))

    def expand_promql(self, expression: str) -> str:
        """Return PromQL as it reaches Prometheus."""
        chosen = expression.replace("$__rate_interval", f"{4 * 15}s")
        return re.sub(r"\$model\b", "|".join(self.chosen.get("model", ())) or ".*", chosen)

    def _conditional_all(self, sql: str) -> str:
        start = "$__conditionalAll("
        while (at := sql.rfind(start)) >= 0:
            end = _closing(sql, at + len(start))
            condition, variable = sql[at + len(start) : end].rsplit(",", 1)
            kept = condition if self.chosen.get(variable.strip().removeprefix("$")) else "1=1"
            sql = sql[:at] + kept + sql[end + 1 :]
        return sql

    def _variable(self, match: re.Match[str]) -> str:
        return ",".join("'" + value.replace("'", "''") + "'" for value in self.chosen[match[1]])

    def _macro(self, match: re.Match[str]) -> str:
        start, end = int(self.start.timestamp()), int(self.end.timestamp())
        macros: dict[str, Callable[[str], str]] = {
            "fromTime": lambda _: f"toDateTime({start})",
            "toTime": lambda _: f"toDateTime({end})",
            "timeFilter": lambda column: f"{column} >= toDateTime({start}) AND {column} <= toDateTime({end})",
            "timeInterval": lambda column: f"toStartOfInterval(toDateTime({column}), INTERVAL {self.interval} second)",
            "interval_s": lambda _: str(self.interval),
        }
        return macros[match[1]](match[2] or "")


def _closing(text: str, start: int) -> int:
    depth = 1
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"a bracket is not closed: {text}")
