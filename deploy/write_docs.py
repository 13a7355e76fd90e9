"""Write what `docs/` has from the code: `python deploy/write_docs.py`. Tests fail when it should be run again.

The events' schemas, the AsyncAPI document, the tables of settings and metrics in `docs/operations.md`, and the names of all
settings, in `contracts/setting_names.py`, so that each service knows those of the others.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from billing_api.settings import ApiSettings  # noqa: E402  # a script in a folder of its own
from contracts import metrics, schemas, topics  # noqa: E402
from contracts.settings import ENV_PREFIX, Settings  # noqa: E402
from proxy.settings import ProxySettings  # noqa: E402
from sim.settings import SimSettings  # noqa: E402
from stream.settings import StreamSettings  # noqa: E402

SERVICES: Final[Mapping[str, type[Settings]]] = {
    "proxy": ProxySettings,
    "stream": StreamSettings,
    "api": ApiSettings,
    "sim": SimSettings,
}
PAGE: Final = "operations.md"
NAMES: Final = Path("contracts", "setting_names.py")


def files(version: str) -> Iterator[tuple[str, str]]:
    """Yield the path below `docs/` of each file that is written whole, and its text."""
    for topic in topics.DATA:
        yield f"schemas/{topic}.json", _json(schemas.data(topic))
    yield f"schemas/{schemas.ENVELOPE}.json", _json(schemas.envelope())
    yield "asyncapi.json", _json(schemas.asyncapi(version))


def page(text: str) -> str:
    """Return the page with its tables as the code has them now."""
    for name, table in {"settings": settings_table(), "metrics": metrics_table()}.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    return text


def settings_table() -> str:
    """Return a row for each setting of any service, those of several services first."""
    fields: dict[str, tuple[FieldInfo, list[str]]] = {}
    for service, kind in SERVICES.items():
        for name, info in kind.model_fields.items():
            fields.setdefault(name, (info, []))[1].append(service)
    rows = [
        f"| `{ENV_PREFIX}{name.upper()}` | {', '.join(users)} | {_default(info)} | {_meaning(info)} |"
        for name, (info, users) in sorted(fields.items(), key=lambda item: (-len(item[1][1]), item[1][1], item[0]))
    ]
    return "\n".join(["| variable | services | default | meaning |", "| --- | --- | --- | --- |", *rows])


def names_module() -> str:
    """Return the module that names all settings."""
    names = sorted({name for kind in SERVICES.values() for name in kind.model_fields})
    head = '"""The settings of all services. Written by `deploy/write_docs.py`."""'
    lines = [head, "", "from typing import Final", "", "NAMES: Final = frozenset(", "    {"]
    return "\n".join([*lines, *(f'        "{name}",' for name in names), "    }", ")", ""])


def metrics_table() -> str:
    """Return a row for each metric."""
    rows = [f"| `{metric.name}` | {', '.join(metric.labels) or '–'} | {metric.help} |" for metric in metrics.ALL]
    return "\n".join(["| metric | labels | meaning |", "| --- | --- | --- |", *rows])


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    if info.default is PydanticUndefined:
        return "of the machine"
    return "none" if info.default in (None, ()) else f"`{info.default}`".replace("|", "\\|")


def _meaning(info: FieldInfo) -> str:
    kinds = [kind for kind in (get_args(info.annotation) or (info.annotation,)) if kind is not NoneType]
    choices = "one of " + ", ".join(map(str, kinds)) if get_origin(info.annotation) is Literal else ""
    secret = "a secret" if SecretStr in kinds else ""
    return "; ".join(part for part in (info.description, choices, secret) if part).replace("|", "\\|") or "–"


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def project_version() -> str:
    """Return the version that `pyproject.toml` states."""
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    return str(project["version"])


def main() -> int:
    """Write all."""
    docs = ROOT / "docs"
    for name, text in files(project_version()):
        (docs / name).write_text(text)
    (ROOT / NAMES).write_text(names_module())
    (docs / PAGE).write_text(page((docs / PAGE).read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
