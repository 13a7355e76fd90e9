"""Commands that run one service. Their flags are the service's own settings, without the service's prefix.

`weighbridge api --listen` is the setting `api_listen`. Secrets are no flags: other users of a machine see the flags of a
process; they come from the environment or from weighbridge.toml.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from contracts.settings import Settings, load

Command = Callable[..., None]

SERVICES: Final[Mapping[str, tuple[str, str, str]]] = {
    "proxy": ("proxy", "ProxySettings", "weighbridge proxy --upstream http://127.0.0.1:8000 --listen 127.0.0.1:8080"),
    "stream": ("stream", "StreamSettings", "weighbridge stream --kafka-bootstrap-servers kafka:9092"),
    "api": ("billing_api", "ApiSettings", "weighbridge api --listen 0.0.0.0:8090"),
    "sim": ("sim", "SimSettings", "weighbridge sim --listen 127.0.0.1:8000 --tokens-per-second 50"),
}
"""By command: the package, its settings, an example."""

SUMMARIES: Final = {
    "proxy": "Run one sidecar in front of one vLLM server.",
    "stream": "Run the stream: events from Kafka into ClickHouse.",
    "api": "Run the billing API.",
    "sim": "Run a simulated vLLM server.",
}
ALIASES: Final = {"sim_models": ("--model",)}


def add_to(app: typer.Typer, wanted: str | None) -> None:
    """Add a command for each service; only the one that is wanted is loaded, with its flags.

    So an image that holds one service needs none of the others' libraries.
    """
    for name, (package, settings, example) in SERVICES.items():
        run = _command(name, package, settings) if name == wanted else _listed
        app.command(name, help=f"{SUMMARIES[name]}\n\nExample: {example}", rich_help_panel="Services")(run)


def _listed() -> None:
    """Stand for a service that is only named in a list."""


def _command(name: str, package: str, settings_name: str) -> Command:
    kind: type[Settings] = getattr(import_module(f"{package}.settings"), settings_name)

    def run(**flags: Any) -> None:
        settings = load(kind, **flags)
        import_module(f"{package}.service").run(settings)

    fields = {field: info for field, info in kind.model_fields.items() if not _is_secret(info)}
    parameters = [_parameter(f"{name}_", field, info) for field, info in fields.items()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(prefix: str, field: str, info: FieldInfo) -> inspect.Parameter:
    """Return a setting as an option: text, which the settings class validates; yes-or-no settings are a pair of flags."""
    flag = "--" + field.removeprefix(prefix).replace("_", "-")
    is_bool = info.annotation is bool
    names = [f"{flag}/--no-{flag[2:]}"] if is_bool else [flag, *ALIASES.get(field, ())]
    shown = "" if info.default in (None, ...) or info.is_required() else f"[default: {info.default}]"
    option = typer.Option(*names, help=f"{info.description or ''} {shown}".strip(), show_default=False)
    kind = Annotated[bool | None, option] if is_bool else Annotated[str | None, option]
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _is_secret(info: FieldInfo) -> bool:
    kinds = get_args(info.annotation) if get_origin(info.annotation) in (UnionType, Union) else (info.annotation,)
    return SecretStr in [kind for kind in kinds if kind is not NoneType]
