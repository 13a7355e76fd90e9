"""The two data sources that the dashboards read, as Grafana stores them. Their uids are fixed: panels refer to them."""

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from grafana_foundation_sdk.models.dashboard import DataSourceRef

from contracts import tables

CLICKHOUSE_TYPE: Final = "grafana-clickhouse-datasource"
CLICKHOUSE: Final = DataSourceRef(type_val=CLICKHOUSE_TYPE, uid="weighbridge-clickhouse")
PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="weighbridge-prometheus")
SCRAPE_INTERVAL: Final = "15s"


def clickhouse(url: str) -> dict[str, Any]:
    """Return the ClickHouse data source for an address `http(s)://[user[:password]@]host[:port][/path]`.

    Raises ValueError when the address has no host. A user who may only read is the right one.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f"{_without_secret(url)!r} is no address of ClickHouse; write http(s)://user:password@host:port"
        )
    secure = parts.scheme == "https"
    source: dict[str, Any] = {
        "name": "Weighbridge ClickHouse",
        "uid": CLICKHOUSE.uid,
        "type": CLICKHOUSE_TYPE,
        "access": "proxy",
        "jsonData": {
            "host": parts.hostname,
            "port": parts.port or (8443 if secure else 8123),
            "protocol": "http",
            "secure": secure,
            "path": parts.path.strip("/"),
            "username": unquote(parts.username or "default"),
            "defaultDatabase": tables.DATABASE,
        },
    }
    if parts.password:
        source["secureJsonData"] = {"password": unquote(parts.password)}
    return source


def prometheus(url: str) -> dict[str, Any]:
    """Return the Prometheus data source for an address as Grafana's server reaches it."""
    return {
        "name": "Weighbridge Prometheus",
        "uid": PROMETHEUS.uid,
        "type": PROMETHEUS.type_val,
        "access": "proxy",
        "url": url,
        "jsonData": {"httpMethod": "POST", "timeInterval": SCRAPE_INTERVAL},
    }


def _without_secret(url: str) -> str:
    return url.rsplit("@", 1)[-1]
