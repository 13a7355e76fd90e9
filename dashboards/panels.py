"""How a panel looks: the few kinds that the dashboards use, over queries of either data source."""

from collections.abc import Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from dashboards import datasources
from dashboards.live import PromQL
from dashboards.queries import Sql

Query = Sql | PromQL
WIDTH: Final = 24
_HEIGHT: Final = 8
_TIME_SERIES: Final = 0  # the plugin's numbers for how rows are to be read
_TABLE: Final = 1


class ClickHouseTarget(Dataquery, Builder[Dataquery]):
    """A query of a panel to the ClickHouse plugin (its version 4), for which the SDK has no builder."""

    def __init__(self, query: Sql, ref_id: str) -> None:
        self.query = query
        self.ref_id = ref_id

    def build(self) -> Dataquery:
        """Return itself: it is its own product."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Return what the plugin's SQL editor would store."""
        return {
            "refId": self.ref_id,
            "datasource": datasources.CLICKHOUSE,
            "editorType": "sql",
            "queryType": "timeseries" if self.query.series else "table",
            "format": _TIME_SERIES if self.query.series else _TABLE,
            "rawSql": self.query.text,
        }


def graph(
    title: str,
    queries: Sequence[Query],
    *,
    unit: str,
    about: str,
    width: int = 8,
    label: str = "",
    stack: bool = False,
) -> timeseries.Panel:
    """Return lines over time.

    Args:
        title: the panel's title.
        queries: all of one data source.
        unit: Grafana's name of the unit, such as `reqps` or `s`.
        about: what the figures mean, shown at the title.
        width: of the 24 columns.
        label: the text column that names a series, for SQL with one.
        stack: whether the series add up.

    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(_source(queries))
        .unit(unit)
        .min(0)
        .span(width)
        .height(_HEIGHT)
        .fill_opacity(25 if stack else 8)
        .line_width(1)
        .legend(
            VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if stack:
        panel = panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    if label:
        panel = panel.display_name("${__field.labels." + label + "}")
    return panel.targets(_targets(queries))


def figure(title: str, query: PromQL, *, unit: str, about: str, width: int = 4) -> stat.Panel:
    """Return one live number with its course behind it."""
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(_source([query]))
        .unit(unit)
        .span(width)
        .height(4)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .targets(_targets([query]))
    )


def rows(title: str, query: Sql, *, about: str, width: int = WIDTH) -> table.Panel:
    """Return a table of what a query gives."""
    return (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(_source([query]))
        .span(width)
        .height(10)
        .targets(_targets([query]))
    )


def _source(queries: Sequence[Query]) -> DataSourceRef:
    return datasources.CLICKHOUSE if isinstance(queries[0], Sql) else datasources.PROMETHEUS


def _targets(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    return [_target(query, chr(ord("A") + place)) for place, query in enumerate(queries)]


def _target(query: Query, ref_id: str) -> Builder[Dataquery]:
    if isinstance(query, Sql):
        return ClickHouseTarget(query, ref_id)
    source = datasources.PROMETHEUS
    return (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .range()
        .ref_id(ref_id)
        .datasource(source)
    )
