"""What the traffic side of a proxy process is told when it starts. Plain values: `proxy.settings` reads them."""

import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from proxy.tls import upstream_context


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a request may take, in seconds."""

    connect: float = 5.0
    first_byte: float = 600.0
    """From the request sent to the first byte of the answer. A long prompt takes vLLM minutes; unary answers come whole."""
    idle: float = 300.0
    """Between two pieces of an answer while the client reads."""
    total: float = 3600.0
    """From the request sent to the last byte of the answer."""
    client_idle: float = 75.0
    """A client connection without a request, or with an unfinished one that does not grow."""


@dataclass(frozen=True, slots=True)
class TrafficConfig:
    """One upstream and the address it is served at. Sizes are bytes.

    `upstream` is `http://host:port` or `https://host:port`, in transparent mode perhaps several with commas between:
    `each` takes them apart. `cache_salt_key` is the secret under which a tenant's prefix
    cache salt is derived: the same for all proxies of an installation.
    """

    upstream: str
    listen_host: str
    listen_port: int
    instance: str
    cache_salt_key: bytes = field(repr=False)
    reuse_port: bool = False
    """Several processes share the port. Check first that nobody else has it: this hides that."""
    upstream_api_key: str | None = field(default=None, repr=False)
    free_paths: tuple[str, ...] = ()
    """Paths that pass unmetered, see `proxy.dialects.table.free`."""
    enforce: Literal["on", "shadow", "off"] = "on"
    """What refusals do, see `proxy.exchange.House`."""
    unsalted: Literal["deny", "allow"] = "allow"
    """What becomes of paths without a `cache_salt`, see `proxy.dialects.table.Route`."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks, see `proxy.trust`."""
    max_body: int = 1 << 30
    held_body: int = 32 << 20
    """A larger body is passed on as it comes, see `proxy.streamed`."""
    max_head: int = 64 << 10
    timeouts: Timeouts = Timeouts()
    transparent: bool = False
    """Connections come redirected: where they were going to says which upstream is meant."""
    tls_files: tuple[Path, Path] | None = None
    """Certificate and key for clients."""
    upstream_ca: Path | None = None
    upstream_files: tuple[Path, Path] | None = None
    """Certificate and key for vLLM."""
    capacity: int = 0
    """How many requests vLLM is given at once, 0: that is learned; see `proxy.queue`."""
    queue_length: int = 1000
    queue_timeout: float = 30.0
    models_interval: float = 30.0
    """Seconds between two looks at the upstream's list of models."""
    progress_interval: float = 5.0
    """Seconds between two records of a stream's counts."""

    @property
    def address(self) -> tuple[str, int]:
        """Return the upstream's host and port; raises ValueError when `upstream` is no such URL."""
        url = urlsplit(self.upstream)
        if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/") or url.query:
            raise ValueError(f"upstream must be http://host:port or https://host:port, got {self.upstream!r}")
        return url.hostname, url.port or (443 if self.tls else 80)

    @property
    def max_held(self) -> int:
        """Return the size of the largest body that is held."""
        return min(self.held_body, self.max_body)

    def each(self) -> "tuple[TrafficConfig, ...]":
        """Return one for each upstream; where there are several, each is an instance under its own address."""
        upstreams = self.upstream.split(",")
        if len(upstreams) == 1:
            return (self,)
        return tuple(replace(self, upstream=one, instance=one.partition("://")[2]) for one in upstreams)

    def upstream_tls(self) -> ssl.SSLContext | None:
        """Return how to speak TLS with the upstream, None when it speaks none. Raises OSError."""
        return upstream_context(self.upstream_ca, *(self.upstream_files or (None, None))) if self.tls else None

    @property
    def tls(self) -> bool:
        """Return whether the upstream speaks TLS."""
        return self.upstream.startswith("https:")
