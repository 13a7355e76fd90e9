"""The admin server, one for all workers of a proxy, never for tenants: `/healthz`, `/readyz`, `/metrics`, `POST /drain`."""

from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from contracts.settings import SettingsError
from proxy.sampler import Sampler
from proxy.settings import ProxySettings, address
from proxy.workers import Workers


class Admin:
    """Answers from what workers and sampler reported last."""

    def __init__(
        self, settings: ProxySettings, workers: Workers, sampler: Sampler, registry: CollectorRegistry
    ) -> None:
        self._settings, self._workers, self._sampler, self._registry = settings, workers, sampler, registry
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.post("/drain", self._drain),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        """Listen. Raises SettingsError when the address is taken."""
        await self._runner.setup()
        host, port = address(self._settings.admin)
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise SettingsError(f"cannot listen on {self._settings.admin} (change it with --admin): {error}") from None

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json(200, {"status": "ok", "workers": self._workers.pids})

    async def _readyz(self, _: web.Request) -> web.Response:
        parts = self.parts()
        missing = [name for name, (_, fine) in parts.items() if not fine]
        body: dict[str, Any] = {"ready": not missing, "not_ready": missing}
        return _json(503 if missing else 200, body | {name: state for name, (state, _) in parts.items()})

    def parts(self) -> dict[str, tuple[str, bool]]:
        """Return each part's state and whether requests can be served with it as it is.

        They can while Kafka is away (the spool holds them) and while Redis is (known keys go on for their grace).
        """
        statuses = list(self._workers.statuses.values())
        up = len(statuses) == self._settings.workers
        full = any(status.spool == "full" for status in statuses)
        return {
            "workers": (f"{len(statuses)} of {self._settings.workers}", up),
            "upstream": ("up" if self._sampler.healthy else "down", bool(self._sampler.healthy)),
            "redis": (next((status.redis for status in statuses if status.redis != "up"), "up"), True),
            "kafka": ("up" if all(status.kafka == "up" for status in statuses) else "down", True),
            "spool": ("full" if full else "ok", not full),
            "draining": ("yes" if self._workers.draining else "no", not self._workers.draining),
        }

    async def _metrics(self, _: web.Request) -> web.Response:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._workers.metrics_folder))  # type: ignore[no-untyped-call]
        body = generate_latest(registry) + generate_latest(self._registry)
        return web.Response(body=body, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _drain(self, _: web.Request) -> web.Response:
        self._workers.drain()
        return _json(202, {"draining": True})


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
