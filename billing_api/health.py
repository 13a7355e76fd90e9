"""`/healthz`, `/readyz`, `/metrics`: for probes and Prometheus, without a token."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from billing_api.services import Services

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Say whether the SQL database answers; 503 while it does not. Without Redis and ClickHouse most of the API goes on."""
    services: Services = request.app.state.services
    async with services.database.reading() as session:
        await session.execute(text("SELECT 1"))
    return {"status": "ready"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Give Prometheus the figures of this process."""
    services: Services = request.app.state.services
    return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_LATEST)
