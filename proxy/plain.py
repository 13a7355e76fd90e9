"""The settings of a proxy as its processes pass them on: plain values, checked before by `proxy.settings`.

Reading settings takes pydantic and what comes with it, 15 MB in each process; the processes that stay do without it.
"""

import hmac
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec

from proxy.config import Timeouts, TrafficConfig
from proxy.oidc.rules import Algorithm, Rules


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All fields of `ProxySettings`, secrets readable: for pipes and memory, never for a log or a command line."""

    log_level: str
    kafka_bootstrap_servers: str
    kafka_security_protocol: str
    kafka_sasl_mechanism: str
    kafka_sasl_username: str | None
    kafka_sasl_password: str | None
    kafka_ssl_cafile: str | None
    kafka_ssl_certfile: str | None
    kafka_ssl_keyfile: str | None
    redis_url: str
    key_pepper: str
    upstream: str
    mode: Literal["reverse", "transparent"]
    enforce: Literal["on", "shadow", "off"]
    upstream_ca: str | None
    upstream_cert: str | None
    upstream_key: str | None
    upstream_api_key: str | None
    listen: str
    tls_cert: str | None
    tls_key: str | None
    admin: str
    instance: str
    workers: int
    spool_dir: str
    spool_max_bytes: int
    on_spool_full: Literal["deny", "allow"]
    publish_window_bytes: int | None
    key_grace_seconds: int
    grace_seconds: float
    max_body_bytes: int
    held_body_bytes: int
    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float
    total_timeout: float
    capacity: int
    queue_length: int
    queue_timeout: float
    trusted_proxies: tuple[str, ...]
    free_paths: tuple[str, ...]
    oidc_issuer: str | None
    oidc_audience: tuple[str, ...]
    oidc_algorithms: tuple[Algorithm, ...]
    oidc_tenant_claim: str
    oidc_team_claim: str
    oidc_user_claim: str
    oidc_tenant: str | None
    oidc_unknown_users: Literal["allow", "deny"]
    oidc_leeway_seconds: int
    oidc_ca: str | None
    unsalted: Literal["deny", "allow"]

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Plain(instance={self.instance!r})"

    @property
    def spool(self) -> Path:
        """The folder of the spools."""
        return Path(self.spool_dir)

    @property
    def key_grace(self) -> timedelta:
        """How long what is remembered of keys counts while Redis is away."""
        return timedelta(seconds=self.key_grace_seconds)

    @property
    def pepper(self) -> bytes:
        """The secret that keys are stored under."""
        return self.key_pepper.encode()

    @property
    def file_label(self) -> str:
        """The instance as part of a file name."""
        return quote(self.instance, safe="")

    def each(self) -> "list[Plain]":
        """Return the settings for each upstream alone, under the instance that it is."""
        configs = self.traffic(("", 0)).each()
        return [msgspec.structs.replace(self, upstream=one.upstream, instance=one.instance) for one in configs]

    def oidc_rules(self) -> Rules | None:
        """Return which tokens are believed; None: there is no identity provider."""
        if self.oidc_issuer is None:
            return None
        return Rules(
            issuer=self.oidc_issuer,
            audiences=self.oidc_audience,
            algorithms=self.oidc_algorithms,
            tenant_claim=self.oidc_tenant_claim,
            team_claim=self.oidc_team_claim,
            user_claim=self.oidc_user_claim,
            tenant=self.oidc_tenant,
            unknown_users=self.oidc_unknown_users,
            leeway=timedelta(seconds=self.oidc_leeway_seconds),
        )

    def traffic(self, listen: tuple[str, int]) -> TrafficConfig:
        """Return what the traffic side is told."""
        return TrafficConfig(
            upstream=self.upstream,
            listen_host=listen[0],
            listen_port=listen[1],
            reuse_port=True,
            instance=self.instance,
            cache_salt_key=hmac.digest(self.pepper, b"cache_salt", "sha256"),
            upstream_api_key=self.upstream_api_key,
            free_paths=self.free_paths,
            enforce=self.enforce,
            unsalted=self.unsalted,
            trusted_proxies=self.trusted_proxies,
            capacity=self.capacity,
            queue_length=self.queue_length,
            queue_timeout=self.queue_timeout,
            max_body=self.max_body_bytes,
            held_body=self.held_body_bytes,
            transparent=self.mode == "transparent",
            tls_files=_pair(self.tls_cert, self.tls_key),
            upstream_ca=Path(self.upstream_ca) if self.upstream_ca is not None else None,
            upstream_files=_pair(self.upstream_cert, self.upstream_key),
            timeouts=Timeouts(
                connect=self.connect_timeout,
                first_byte=self.first_byte_timeout,
                idle=self.idle_timeout,
                total=self.total_timeout,
            ),
        )


def _pair(certificate: str | None, key: str | None) -> tuple[Path, Path] | None:
    return (Path(certificate), Path(key)) if certificate is not None and key is not None else None


def address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
