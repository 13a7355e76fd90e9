"""The admin port: /healthz (the process runs), /readyz (it reads, and no effect is failing), /metrics."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from stream.metrics import Metrics
from stream.retry import Health


def create(health: Health, metrics: Metrics) -> web.Application:
    """Return the application; the caller listens."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        if not health.failing:
            return web.Response(text="ready\n")
        lines = [f"{effect}: {reason}\n" for effect, reason in sorted(health.failing.items())]
        return web.Response(text="".join(lines), status=503)

    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", show_metrics)])
    return app


async def listen(app: web.Application, address: str) -> web.AppRunner:
    """Serve on HOST:PORT until the returned runner is cleaned up; raises OSError when the port is taken."""
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host.strip("[]") or "0.0.0.0", int(port)).start()
    return runner
