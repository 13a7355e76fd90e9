"""The admin server, one for all workers of a proxy, never for tenants: `/healthz`, `/readyz`, `/metrics`, `POST /drain`.

It answers in threads, so that no slow reader of metrics keeps the parent from its workers.
"""

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import Any, Final, Self

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from proxy.plain import Plain, address
from proxy.status import CannotStartError
from proxy.workers import Workers

_JSON: Final = "application/json"
Answer = tuple[int, str, bytes]


class Admin:
    """Answers from what the workers reported last, while it is entered. `drain` is called in another thread."""

    def __init__(self, settings: Plain, workers: Workers, drain: Callable[[], object]) -> None:
        """Open the port. Raises CannotStartError when the address is taken."""
        self._settings, self._workers, self._drain = settings, workers, drain
        try:
            self._server = _Server(address(settings.admin), self)
        except OSError as error:
            raise CannotStartError(f"cannot listen on {settings.admin} (change it with --admin): {error}") from None

    def __enter__(self) -> Self:
        """Begin to answer."""
        Thread(target=self._server.serve_forever, name="admin", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and close the port."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str) -> Answer:
        """Return status, content type and body."""
        match method, path.partition("?")[0]:
            case "GET", "/healthz":
                return _json(200, {"status": "ok", "workers": self._workers.pids})
            case "GET", "/readyz":
                parts = self.parts()
                missing = [name for name, (_, fine) in parts.items() if not fine]
                body = {"ready": not missing, "not_ready": missing} | {name: part[0] for name, part in parts.items()}
                return _json(503 if missing else 200, body)
            case "GET", "/metrics":
                registry = CollectorRegistry()
                MultiProcessCollector(registry, str(self._workers.metrics_folder))  # type: ignore[no-untyped-call]
                return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
            case "POST", "/drain":
                self._drain()
                return _json(202, {"draining": True})
            case _, "/healthz" | "/readyz" | "/metrics" | "/drain":
                return _json(405, {"error": "method not allowed"})
        return _json(404, {"error": "not found"})

    def parts(self) -> dict[str, tuple[str, bool]]:
        """Return each part's state and whether requests can be served with it as it is.

        They can while Kafka is away (the spool holds them) and while Redis is: known keys go on for their grace, and each limit
        says what holds without it.
        """
        statuses = list(self._workers.statuses.values())
        up = len(statuses) == self._settings.workers
        full = any(status.spool == "full" for status in statuses)
        reached = not statuses or not all(status.short_circuit for status in statuses)
        healthy = reached and any(status.upstream for status in statuses)
        return {
            "workers": (f"{len(statuses)} of {self._settings.workers}", up),
            "upstream": ("up" if healthy else "down", healthy),
            "redis": (next((status.redis for status in statuses if status.redis != "up"), "up"), True),
            "limits": (next((status.limits for status in statuses if status.limits != "up"), "up"), True),
            "kafka": ("up" if all(status.kafka == "up" for status in statuses) else "down", True),
            "spool": ("full" if full else "ok", not full),
            "draining": ("yes" if self._workers.draining else "no", not self._workers.draining),
        }


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, place: tuple[str, int], admin: Admin) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self.admin = admin
        super().__init__(place, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10  # seconds of silence, after which a connection is closed
    server: _Server

    def do_GET(self) -> None:
        self._reply(self.server.admin.answer("GET", self.path))

    def do_HEAD(self) -> None:
        self._reply(self.server.admin.answer("GET", self.path))

    def do_POST(self) -> None:
        self._reply(self.server.admin.answer("POST", self.path))
        self.close_connection = True  # a body was not read

    def _reply(self, answer: Answer) -> None:
        status, kind, body = answer
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """Log no requests."""


def _json(status: int, body: dict[str, Any]) -> Answer:
    return status, _JSON, msgspec.json.encode(body)
