"""Around every request: an id, a log line, metrics."""

import time
from typing import Final
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts import metrics

REQUEST_ID: Final = "x-request-id"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})

log = structlog.get_logger()


class Observed:
    """ASGI middleware. Metrics carry the route's pattern, never a path with ids."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self._requests = metrics.API_REQUESTS.counter(registry)
        self._seconds = metrics.API_DURATION.histogram(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = f"req_{uuid4().hex}"
        scope["request_id"] = request_id
        status = 500
        started = time.monotonic()

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                await self.app(scope, receive, observe)
        finally:
            seconds = time.monotonic() - started
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._requests.labels(route, method, str(status)).inc()
            self._seconds.labels(route).observe(seconds)
            if scope["path"] not in _QUIET:
                log.info(
                    "answered",
                    request_id=request_id,
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(seconds, 4),
                )
