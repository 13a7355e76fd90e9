"""What a proxy needs to know to start."""

import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from contracts.settings import KafkaSettings, PepperSettings, RedisSettings
from proxy.config import TrafficConfig
from proxy.dialects import table
from proxy.oidc.settings import OidcSettings
from proxy.plain import Plain
from proxy.spool.spool import SEGMENT_BYTES
from proxy.tls import server_context, upstream_context

_ADDRESS: Final = r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):\d{1,5}$"
_MIB: Final = 1 << 20
_Seconds = Annotated[float, Field(gt=0)]


class ProxySettings(KafkaSettings, RedisSettings, PepperSettings, OidcSettings):
    """Settings of `weighbridge proxy`."""

    upstream: str = Field(
        description="the vLLM server: http://HOST:PORT or https://HOST:PORT; transparent: several, comma-separated"
    )
    mode: Literal["reverse", "transparent"] = Field(
        default="reverse", description="clients name this proxy, or iptables sends it their connections to vLLM"
    )
    enforce: Literal["on", "shadow", "off"] = Field(
        default="on", description="refuse what keys may not do, only record what would be refused, or only meter"
    )
    upstream_api_key: SecretStr | None = Field(default=None, description="what vLLM was started with as --api-key")
    upstream_ca: Path | None = Field(default=None, description="PEM file that vLLM's certificate is checked against")
    upstream_cert: Path | None = Field(default=None, description="PEM file: the certificate that vLLM is shown")
    upstream_key: Path | None = Field(default=None, description="PEM file: the key of upstream_cert")
    listen: str = Field(default="0.0.0.0:8080", pattern=_ADDRESS, description="HOST:PORT for clients")
    tls_cert: Path | None = Field(default=None, description="PEM file: the certificate for clients; none: plain text")
    tls_key: Path | None = Field(default=None, description="PEM file: the key of tls_cert")
    admin: str = Field(default="127.0.0.1:9464", pattern=_ADDRESS, description="HOST:PORT of the admin server")
    instance: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=256,
        description="name of this server in all records",
    )
    workers: int = Field(default=1, ge=1, le=256, description="processes that share the port")
    spool_dir: Path = Field(default=Path("spool"), description="folder for what the ledger does not have yet")
    spool_max_bytes: int = Field(
        default=1 << 30, ge=4 * SEGMENT_BYTES, description="the most that each worker keeps in spool_dir"
    )
    on_spool_full: Literal["deny", "allow"] = Field(
        default="deny", description="refuse requests that cannot be recorded, or let them pass unrecorded"
    )
    publish_window_bytes: int | None = Field(
        default=None, ge=128 << 10, description="the most that each worker sends ahead of the ledger; none: no limit"
    )
    key_grace_seconds: int = Field(default=3600, ge=0, description="how long known keys are let in while Redis is away")
    grace_seconds: _Seconds = Field(default=30.0, description="how long running requests may go on after SIGTERM")
    max_body_bytes: int = Field(default=1 << 30, ge=1024, description="largest request body")
    held_body_bytes: int = Field(
        default=32 * _MIB,
        ge=1024,
        description="largest request body that is held; a larger one is passed on as it comes",
    )
    connect_timeout: _Seconds = Field(default=5.0, description="seconds to connect to the upstream")
    first_byte_timeout: _Seconds = Field(default=600.0, description="seconds from a request to the answer's first byte")
    idle_timeout: _Seconds = Field(default=300.0, description="seconds between two pieces of an answer")
    total_timeout: _Seconds = Field(default=3600.0, description="seconds from a request to the answer's last byte")
    capacity: int = Field(
        default=0, ge=0, description="requests that each server is given at once, others wait; 0: learned from vLLM"
    )
    queue_length: int = Field(default=1000, ge=1, le=100_000, description="the most requests that wait for a server")
    queue_timeout: _Seconds = Field(default=30.0, description="seconds that a request waits for a server at the most")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="addresses or networks, comma-separated, whose forwarded address and router fields are believed",
    )
    free_paths: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="exact paths of vLLM, comma-separated, that pass with a key, unmetered and unrecorded"
    )
    unsalted: Literal["deny", "allow"] = Field(
        default="allow",
        description="refuse /cohere/v2/chat and /v2/embed, where vLLM lets tenants share cached prefixes, or let them pass",
    )

    @field_validator("trusted_proxies", "free_paths", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network, strict=False)
        return value

    @field_validator("free_paths")
    @classmethod
    def _check_free(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        table.free(value)
        return value

    @field_validator("upstream")
    @classmethod
    def _check_upstream(cls, value: str) -> str:
        servers = [part.strip().rstrip("/") for part in value.split(",")]
        for server in servers:
            assert TrafficConfig(server, "", 0, "", b"").address
        if len(set(servers)) < len(servers):
            raise ValueError("names a server twice")
        return ",".join(servers)

    @field_validator("mode")
    @classmethod
    def _check_mode(cls, value: str, info: ValidationInfo) -> str:
        servers = [
            TrafficConfig(server, "", 0, "", b"") for server in info.data.get("upstream", "").split(",") if server
        ]
        if value == "reverse" and len(servers) > 1:
            raise ValueError("only transparent mode has several servers as upstream")
        if value == "transparent":
            for server in servers:
                ip_address(server.address[0])  # a connection's destination is an address: names are not looked up
        return value

    @field_validator("upstream_key")
    @classmethod
    def _check_upstream_files(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        certificate = _paired(info.data.get("upstream_cert"), value, "upstream_cert")
        files = (info.data.get("upstream_ca"), certificate, value)
        if any(files):
            _usable(upstream_context, *files)
        return value

    @field_validator("tls_key")
    @classmethod
    def _check_tls_files(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        certificate = _paired(info.data.get("tls_cert"), value, "tls_cert")
        if certificate is not None and value is not None:
            _usable(server_context, certificate, value)
        return value

    def plain(self) -> Plain:
        """Return all settings as plain values, secrets readable: for the processes of this proxy, and nobody else."""
        values = self.model_dump(mode="json")
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                values[name] = value.get_secret_value()
        return msgspec.convert(values, Plain)


def _paired(certificate: Path | None, key: Path | None, name: str) -> Path | None:
    if (certificate is None) != (key is None):
        raise ValueError(f"{name} and its key go together")
    return certificate


def _usable(load: Callable[..., object], *files: Path | None) -> None:
    try:
        load(*files)
    except OSError as error:
        names = " and ".join(str(file) for file in files if file is not None)
        raise ValueError(f"cannot use {names}: {error}") from None
