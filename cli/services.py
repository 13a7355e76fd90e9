"""Commands that run one service. Their flags are the service's own settings, without the service's prefix.

`weighbridge api --listen` is the setting `api_listen`. Secrets are no flags: other users of a machine see the flags of a
process; they come from the environment or from weighbridge.toml.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cli.errors import CommandError
from contracts.settings import Settings, load

Command = Callable[..., None]


@dataclass(frozen=True)
class Service:
    """The package of a service, the class of its settings, and what its help says."""

    package: str
    settings: str
    summary: str
    example: str


SERVICES: Final[Mapping[str, Service]] = {
    "proxy": Service(
        "proxy",
        "ProxySettings",
        "Run one sidecar in front of one vLLM server.",
        "weighbridge proxy --upstream http://127.0.0.1:8000 --listen 127.0.0.1:8080",
    ),
    "stream": Service(
        "stream",
        "StreamSettings",
        "Run the stream: events from Kafka into ClickHouse.",
        "weighbridge stream --kafka-bootstrap-servers kafka:9092",
    ),
    "api": Service("billing_api", "ApiSettings", "Run the billing API.", "weighbridge api --listen 0.0.0.0:8090"),
    "sim": Service(
        "sim",
        "SimSettings",
        "Run a simulated vLLM server.",
        "weighbridge sim --listen 127.0.0.1:8000 --tokens-per-second 50",
    ),
}
ALIASES: Final = {"sim_models": ("--model",)}


def __getattr__(name: str) -> Command:
    """Return the command that runs a service (`proxy`, `stream`, `api`, `sim`); only its package is loaded."""
    if name not in SERVICES:
        raise AttributeError(name)
    service = SERVICES[name]
    try:
        kind: type[Settings] = getattr(import_module(f"{service.package}.settings"), service.settings)
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is not installed here; install weighbridge[{name}]") from error
    return _command(name, service, kind)


def _command(name: str, service: Service, kind: type[Settings]) -> Command:
    def run(**flags: Any) -> None:
        settings = load(kind, **flags)
        import_module(f"{service.package}.service").run(settings)

    run.__doc__ = f"{service.summary}\n\nExample: {service.example}"
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
    option = typer.Option(*names, help=f"{info.description or ''} {_default(info)}".strip(), show_default=False)
    kind = Annotated[bool | None, option] if is_bool else Annotated[str | None, option]
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _default(info: FieldInfo) -> str:
    """Return what a setting is when nobody sets it; no brackets, which the help would take for its own."""
    if info.is_required():
        return "(required)"
    if info.default is PydanticUndefined:
        return "(default: the machine's)"
    return f"(default: {info.default})" if info.default not in (None, "", ()) else ""


def _is_secret(info: FieldInfo) -> bool:
    kinds = get_args(info.annotation) if get_origin(info.annotation) in (UnionType, Union) else (info.annotation,)
    return SecretStr in [kind for kind in kinds if kind is not NoneType]
