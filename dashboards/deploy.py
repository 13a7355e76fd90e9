"""Brings the dashboard, its folder and its data sources into a running Grafana. Run it as often as you like.

What is there already and equal stays as it is; what Grafana has from its own provisioning files is left to them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import niquests
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from dashboards import datasources, fleet, render

FOLDER_UID: Final = "weighbridge"
FOLDER_TITLE: Final = "Weighbridge"
_TIMEOUT_SECONDS: Final = 15.0
_WRITTEN_BY_GRAFANA: Final = frozenset({"id", "version"})


class DeployError(Exception):
    """Grafana could not take the dashboard; the message says why and what to do."""


@dataclass(frozen=True)
class Deployed:
    """Where the dashboard stands, what was created or updated, and what was left to Grafana's provisioning."""

    url: str
    changed: tuple[str, ...]
    provisioned: tuple[str, ...]


def deploy(url: str, token: str | None, *, clickhouse_url: str, prometheus_url: str) -> Deployed:
    """Create or update folder, data sources and dashboard.

    Args:
        url: Grafana's address, also with a path, or with `user:password@` in it instead of a token.
        token: of a service account that is Admin: only such a one may write data sources.
        clickhouse_url: as Grafana's server reaches ClickHouse, `http(s)://user:password@host:port`.
        prometheus_url: as Grafana's server reaches Prometheus.

    Raises:
        DeployError: Grafana is not there, does not know the token, forbids it, or lacks the ClickHouse plugin.
        ValueError: an address is none.

    """
    base = url.rstrip("/") + "/"
    with _explained(_without_secret(base)):
        grafana: Any = GrafanaApi.from_url(base, credential=token, timeout=_TIMEOUT_SECONDS)
        _greet(grafana, _without_secret(base))
        steps = [
            _folder(grafana),
            _source(grafana, datasources.clickhouse(clickhouse_url)),
            _source(grafana, datasources.prometheus(prometheus_url)),
            _dashboard(grafana, render.render()),
        ]
    return Deployed(
        url=f"{_without_secret(base)}d/{fleet.UID}",
        changed=tuple(name for name, outcome in steps if outcome == "changed"),
        provisioned=tuple(name for name, outcome in steps if outcome == "provisioned"),
    )


Step = tuple[str, str]
"""A thing's name and what became of it: equal, changed or provisioned."""


def _greet(grafana: Any, url: str) -> None:
    """Refuse early what could only fail later and less clearly."""
    health = grafana.client.GET("/health")  # `grafana.health` asks elsewhere and stumbles over what is no Grafana
    if not isinstance(health, Mapping) or "database" not in health:
        raise DeployError(f"{url} answers, but not as Grafana does; give the address of Grafana's start page")
    installed = {plugin["id"] for plugin in grafana.plugin.list()}
    if datasources.CLICKHOUSE_TYPE not in installed:
        raise DeployError(
            f"Grafana at {url} lacks the plugin {datasources.CLICKHOUSE_TYPE}; install it with"
            f" `grafana cli plugins install {datasources.CLICKHOUSE_TYPE}` and restart Grafana"
        )


def _folder(grafana: Any) -> Step:
    name = f"folder {FOLDER_TITLE}"
    if _found(grafana.folder.get_folder, FOLDER_UID) is not None:
        return name, "equal"
    grafana.folder.create_folder(FOLDER_TITLE, FOLDER_UID)
    return name, "changed"


def _source(grafana: Any, wanted: dict[str, Any]) -> Step:
    name = f"data source {wanted['name']}"
    present = _found(grafana.datasource.get_datasource_by_uid, wanted["uid"])
    if present is None:
        grafana.datasource.create_datasource(wanted)
        return name, "changed"
    if present.get("readOnly"):
        return name, "provisioned"
    equal = _covers(present, {key: value for key, value in wanted.items() if key != "secureJsonData"})
    if not equal or "secureJsonData" in wanted:  # Grafana shows no password, so that one is always set anew
        grafana.datasource.update_datasource_by_uid(wanted["uid"], wanted)
    return name, "equal" if equal else "changed"


def _dashboard(grafana: Any, wanted: dict[str, Any]) -> Step:
    name = f"dashboard {wanted['title']}"
    present = _found(grafana.dashboard.get_dashboard, wanted["uid"])
    if present is not None:
        if present["meta"].get("provisioned"):
            return name, "provisioned"
        stored = {key: value for key, value in present["dashboard"].items() if key not in _WRITTEN_BY_GRAFANA}
        if stored == wanted and present["meta"].get("folderUid") == FOLDER_UID:
            return name, "equal"
    grafana.dashboard.update_dashboard({"dashboard": wanted, "folderUid": FOLDER_UID, "overwrite": True})
    return name, "changed"


def _found(get: Any, uid: str) -> Any:
    """Return what Grafana has under a uid, or None."""
    try:
        return get(uid)
    except GrafanaClientError as error:
        if error.status_code == 404:
            return None
        raise


def _covers(present: Any, wanted: Any) -> bool:
    """Say whether everything wanted is present; Grafana adds fields of its own."""
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        return all(key in present and _covers(present[key], value) for key, value in wanted.items())
    return bool(present == wanted)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what the client raises into one line that says what to do."""
    try:
        yield
    except GrafanaException as error:
        raise DeployError(_explain(error, url)) from error
    except niquests.exceptions.JSONDecodeError as error:
        raise DeployError(
            f"{url} answers, but not as Grafana does; give the address of Grafana's start page"
        ) from error
    except niquests.exceptions.RequestException as error:
        raise DeployError(f"no Grafana answers at {url}: {error}; check the address and that Grafana runs") from error


def _explain(error: GrafanaException, url: str) -> str:
    if error.status_code == 0:
        return f"Grafana at {url} did not answer in time: {error.message}"
    if error.status_code == 401:
        return f"Grafana at {url} does not know this token; make one for a service account with the role Admin"
    if error.status_code == 403:
        return f"Grafana at {url} forbids this to the token: {error.message}; its service account needs the role Admin"
    if error.status_code == 404:
        return f"{url} answers, but not as Grafana does; give the address of Grafana's start page"
    return f"Grafana at {url} refused: {error.message}"


def _without_secret(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
