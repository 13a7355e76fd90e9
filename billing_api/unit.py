"""A request as a unit of work: who asks, one transaction, the stored answer of an `Idempotency-Key`, then the projection.

The routes of this file put that around every endpoint, so that an endpoint only says what is to be done. The order matters: an
answer is sent after the commit and after Redis has been told, so that what it promises already holds.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Receive

from billing_api import auth, idempotency
from billing_api.errors import Problem
from billing_api.projection import revisions
from billing_api.projection.records import entries
from billing_api.services import Services

PENDING: Final = "x-weighbridge-projection"
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass
class Unit:
    """What an endpoint works with. `now` is the time of the request; `secret_of` names what its answer reveals once."""

    services: Services
    session: AsyncSession
    actor: str
    now: datetime
    request_id: str
    secret_of: str | None = None

    @property
    def now_ms(self) -> int:
        """The time of the request in Unix milliseconds, for ids."""
        return int(self.now.timestamp() * 1000)


def _unit(request: Request) -> Unit:
    unit = request.state.unit
    assert isinstance(unit, Unit)
    return unit


Work = Annotated[Unit, Depends(_unit)]


class WorkRoute(APIRoute):
    """A route of the API: GET reads, everything else writes in one transaction."""

    writes = True

    def get_route_handler(self) -> Handler:
        """Wrap the endpoint."""
        handle = super().get_route_handler()

        async def run(request: Request) -> Response:
            services: Services = request.app.state.services
            request = Request(request.scope, _bounded(request.receive))
            unit_of = _Opener(services, request, auth.authenticate(request, services.settings))
            if request.method == "GET":
                async with unit_of(writes=False):
                    return await handle(request)
            claim = await _claim(request, unit_of)
            if isinstance(claim, Response):
                return claim
            try:
                return await _work(request, handle, unit_of, claim, writes=self.writes)
            finally:
                if claim is not None:
                    await idempotency.release(services.database, claim)

        return run


class AskingRoute(WorkRoute):
    """A POST that only asks (previews, quotes): it reads, and holds no lock while ClickHouse thinks."""

    writes = False


def _bounded(receive: Receive) -> Receive:
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, f"a body has at most {MAX_BODY_BYTES} bytes")
        return message

    return bounded


class _Opener:
    def __init__(self, services: Services, request: Request, actor: str) -> None:
        self.services, self.request, self.actor, self.now = services, request, actor, services.clock()

    @asynccontextmanager
    async def __call__(self, *, writes: bool) -> AsyncIterator[Unit]:
        database = self.services.database
        async with database.writing() if writes else database.reading() as session:
            request_id = str(self.request.scope.get("request_id"))
            unit = Unit(self.services, session, self.actor, self.now, request_id)
            self.request.state.unit = unit
            yield unit


async def _claim(request: Request, opener: _Opener) -> idempotency.Claim | Response | None:
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return None
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise Problem(422, "invalid_idempotency_key", "an Idempotency-Key has 1 to 255 printable ASCII characters")
    fingerprint = idempotency.fingerprint(request.url.path, request.url.query, await request.body())
    return await idempotency.claim(opener.services.database, opener.actor, key, fingerprint, opener.now)


async def _work(
    request: Request, handle: Handler, opener: _Opener, claim: idempotency.Claim | None, *, writes: bool
) -> Response:
    async with opener(writes=writes) as unit:
        response = await handle(request)
        if writes and claim is not None:
            await idempotency.complete(unit.session, claim, response, unit.secret_of)
        news = await entries(unit.session, revisions.touched(unit.session))
    if not writes and claim is not None:
        async with opener.services.database.writing() as session:
            await idempotency.complete(session, claim, response, None)
    if news and not await opener.services.projector.push(news):
        response.headers[PENDING] = "pending"
    return response
