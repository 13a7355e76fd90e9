"""The FastAPI app: its routers, its errors, and the tasks that run beside it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import structlog
from fastapi import FastAPI, Security
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy.exc import SQLAlchemyError

from billing_api import auth, errors, health, idempotency
from billing_api.accounts import teams, tenants, users
from billing_api.audit import endpoints as audit
from billing_api.db import Database
from billing_api.invoices import endpoints as invoices
from billing_api.keys import endpoints as keys
from billing_api.limits import endpoints as limits
from billing_api.limits import plan_endpoints as plans
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
_CANCEL_AGAIN_AFTER: Final = 0.5
_DESCRIPTION: Final = """
Errors are problems (RFC 9457) with a stable `code`. Lists come in pages: follow `next_cursor`. Amounts are decimal strings.

A POST may carry `Idempotency-Key`: repeated with the same body it gives the stored answer, marked `idempotent-replayed: true`
(an answer with a secret is never repeated: 409 `secret_already_shown`); with another body 422; while the first runs 409.

An answer to a change of keys, tenants, teams, users, plans or limits is sent after the proxies' Redis has been told. When Redis
is away, the change is stored all the same, and `x-weighbridge-projection: pending` says that the proxies learn of it later.
"""
log = structlog.get_logger()
_PROBLEM: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": errors.ProblemView, "description": "A problem (RFC 9457), as application/problem+json"},
    "5XX": {"model": errors.ProblemView, "description": "A problem (RFC 9457), as application/problem+json"},
}
ROUTERS: Final = (
    tenants.router,
    teams.router,
    users.router,
    keys.router,
    plans.router,
    limits.router,
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
    redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1))
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
                task = asyncio.create_task(work)
                task.add_done_callback(stop_if_failed)
                stack.push_async_callback(_cancel, task)
            yield

    app = FastAPIOffline(  # its pages load nothing from elsewhere
        title="Weighbridge billing API",
        version="1",
        description=_DESCRIPTION,
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


def stop_if_failed(task: asyncio.Task[None]) -> None:
    """End the process when a task beside the requests has died of a mistake: better a fresh start than half a service."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("task_died", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


async def _forget(shared: Services) -> None:
    while True:
        try:
            await idempotency.forget(shared.database, shared.clock())
        except (SQLAlchemyError, OSError) as error:
            log.warning("stored_answers_kept", error=str(error))
        await asyncio.sleep(_HOUR_SECONDS)


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel until it has ended: Python 3.11's `asyncio.wait_for`, by which redis-py sends, may lose a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_AFTER)
