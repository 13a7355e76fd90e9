"""`weighbridge doctor`: what is wrong with this installation, and all settings with their secrets masked."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer

from cli.client import DATA_DIR, DATA_VARIABLE, Json, endpoints
from cli.errors import CommandError
from cli.output import JsonFlag, print_json, print_rows
from cli.reach import masked, unreachable
from cli.services import SERVICES
from cli.upstream import UpstreamSettings, ask_models, refusal
from contracts.settings import ENV_PREFIX, SettingsError, load

FREE_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class Finding:
    """Something looked at: whether it is well, and what is to be said about it."""

    what: str
    well: bool
    says: str


def doctor(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar=DATA_VARIABLE, show_envvar=False, help=f"Of a running `up`. Default: {DATA_DIR}, if one runs there."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look for what is wrong: a running `up` on the data folder if there is one, else the services' settings.

    Exit status 1 when something is wrong.

    Example: weighbridge doctor
    """
    folder = data_dir or DATA_DIR
    running = (folder / "endpoints.json").exists()
    if data_dir is not None and not running:
        raise CommandError(
            f"nothing runs on {folder}: start `weighbridge up --data-dir {folder}`, or leave --data-dir out"
        )
    findings = [_disk(folder), *(_parts(endpoints(folder)) if running else _services())]
    settings = {} if running else _settings()
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings], "settings": settings})
    else:
        rows = [{"": "ok" if found.well else "WRONG", "what": found.what, "says": found.says} for found in findings]
        print_rows(rows, ("", "what", "says"), as_json=False)
        if settings:
            typer.echo("")
            print_rows(
                [{"setting": name, "value": value} for name, value in settings.items()],
                ("setting", "value"),
                as_json=False,
            )
    if not all(found.well for found in findings):
        raise typer.Exit(1)


def _disk(folder: Path) -> Finding:
    place = folder if folder.exists() else Path()
    free = shutil.disk_usage(place).free
    says = f"{free >> 20} MiB free"
    return Finding(
        "disk", free >= FREE_BYTES, says if free >= FREE_BYTES else f"{says}; the spool and ClickHouse need more"
    )


def _parts(known: Json) -> Iterator[Finding]:
    """Look at everything that a running `up` names."""
    for number, proxy in enumerate(known["proxies"], 1):
        yield _listens(f"proxy {number}", proxy)
    for upstream in known["upstreams"]:
        yield _upstream(upstream)
    yield _answers("api", f"{known['api']}/readyz", "see the log of api")
    for server in ("kafka", "redis", "clickhouse", "database"):
        if not known[server].startswith("sqlite"):
            yield _listens(server, known[server])


def _services() -> Iterator[Finding]:
    """Look at each service's settings, and at the servers they name."""
    addresses: dict[str, str] = {}
    for name, service in SERVICES.items():
        try:
            values = load(getattr(import_module(f"{service.package}.settings"), service.settings)).model_dump()
        except SettingsError as error:
            yield Finding(f"settings of {name}", False, str(error))
            continue
        yield Finding(f"settings of {name}", True, "complete")
        servers = ("kafka_bootstrap_servers", "redis_url", "clickhouse_url", "database_url")
        addresses |= {setting: str(values[setting]) for setting in servers if setting in values}
    for setting, address in addresses.items():
        if not address.startswith(("sqlite", "unix")):
            yield _listens(ENV_PREFIX + setting.upper(), address.split(",")[0])


def _settings() -> dict[str, Any]:
    """Return every setting of every service that can be read; secrets are stars."""
    shown: dict[str, Any] = {}
    for service in SERVICES.values():
        try:
            values = load(getattr(import_module(f"{service.package}.settings"), service.settings))
        except SettingsError:
            continue
        for name, value in values:
            shown[ENV_PREFIX + name.upper()] = None if value is None else masked(str(value))
    return dict(sorted(shown.items()))


def _listens(what: str, address: str) -> Finding:
    amiss = unreachable(address)
    return Finding(what, amiss is None, masked(address) if amiss is None else f"{amiss}; start it or correct it")


def _upstream(address: str) -> Finding:
    """Look at a vLLM server: whether it is well, and takes the key; `/health` wants none."""
    found = _answers("upstream", f"{address}/health", "start vLLM; until then requests get 502")
    if not found.well:
        return found
    key = load(UpstreamSettings).upstream_api_key
    try:
        refused = ask_models(address, key).status_code == httpx.codes.UNAUTHORIZED
    except httpx.HTTPError as error:
        return Finding("upstream", False, f"{address}/v1/models does not answer ({error}); see the log of vLLM")
    return Finding("upstream", False, f"{address} {refusal(key)}; doctor needs it too") if refused else found


def _answers(what: str, url: str, hint: str) -> Finding:
    try:
        answer = httpx.get(url, timeout=5)
    except httpx.HTTPError as error:
        return Finding(what, False, f"{url} does not answer ({error}); {hint}")
    if answer.is_success:
        return Finding(what, True, url)
    return Finding(what, False, f"{url} answers {answer.status_code}; {hint}")
