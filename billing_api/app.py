"""The FastAPI app: its routers, its errors, and the tasks that run beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

from fastapi import FastAPI, Security
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from billing_api import auth, errors, health, idempotency
from billing_api.accounts import teams, tenants, users
from billing_api.audit import endpoints as audit
from billing_api.db import Database
from billing_api.invoices import endpoints as invoices
from billing_api.keys import endpoints as keys
from billing_api.observe import Observed
from billing_api.prices import endpoints as prices
from billing_api.projection.repair import Projector
from billing_api.services import Services
from billing_api.settings import ApiSettings
from billing_api.usage import endpoints as usage
from billing_api.usage.ledger import Ledger
from contracts import metrics
from contracts.clock import Clock, utc_now

_HOUR_SECONDS: Final = 3600
_PROBLEM: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": errors.ProblemView, "description": "A problem (RFC 9457), as application/problem+json"},
    "5XX": {"model": errors.ProblemView, "description": "A problem (RFC 9457), as application/problem+json"},
}
ROUTERS: Final = (
    tenants.router,
    teams.router,
    users.router,
    keys.router,
    prices.asking,
    prices.router,
    usage.router,
    invoices.asking,
    invoices.router,
    audit.router,
)


def services(settings: ApiSettings, clock: Clock = utc_now) -> Services:
    """Build what the requests share. Nothing connects before it is used."""
    registry = CollectorRegistry()
    database = Database(settings.database_url)
    redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=1)
    projector = Projector(database, redis, clock, metrics.PROJECTION_LAG.gauge(registry))
    return Services(settings, database, projector, Ledger(settings.clickhouse_url), registry, clock)


def create_app(shared: Services) -> FastAPI:
    """Return the app. Its lifespan keeps Redis whole and drops old stored answers."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(shared.database.close)
            stack.push_async_callback(shared.ledger.close)
            stack.push_async_callback(shared.projector.copy.redis.aclose)
            for work in (shared.projector.run(), _forget(shared)):
                stack.push_async_callback(_cancel, asyncio.create_task(work))
            yield

    app = FastAPI(
        title="Weighbridge billing API",
        version="1",
        lifespan=lifespan,
        responses=_PROBLEM,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = shared
    app.add_middleware(Observed, registry=shared.registry)
    errors.install(app)
    app.include_router(health.router)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Security(auth.documented)])
    return app


async def _forget(shared: Services) -> None:
    while True:
        with suppress(OSError):
            await idempotency.forget(shared.database, shared.clock())
        await asyncio.sleep(_HOUR_SECONDS)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
