"""ClickHouse's HTTP protocol: requests in, the engine's answers and errors out.

One thread runs the statements, one after the other; more than `QUEUE` waiting are refused with 503, as a real server
refuses simultaneous queries over its limit. Server-side sessions are not kept: `session_id` is taken and means nothing.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from embedded.clickhouse import codecs
from embedded.clickhouse.engine import Answer, Engine, QueryError, Statement

QUEUE: Final = 64
MAX_BODY: Final = 256 * 1024 * 1024
_OURS: Final = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "query_id",
        "session_id",
        "session_check",
        "session_timeout",
        "client_protocol_version",
        "role",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "enable_http_compression",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
    }
)
"""Parameters that the protocol itself takes; any other is a setting of the engine."""

_STATUS: Final = {60: 404, 81: 404, 46: 404, 47: 404, 115: 404, 48: 501, 62: 400, 27: 400, 33: 400, 53: 400, 202: 503}
_CONTENT_TYPES: Final = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "Native": "application/octet-stream",
}


class RequestError(Exception):
    """A request that never reaches the engine; `status` is HTTP's, `code` ClickHouse's."""

    def __init__(self, message: str, status: int, code: int) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message}")
        self.status = status
        self.code = code


def create_app(engine: Engine) -> Starlette:
    """Return the ASGI application over an open engine."""
    server = _Server(engine)
    return Starlette(
        routes=[
            Route("/", server.query, methods=["GET", "POST"]),
            Route("/ping", _ok, methods=["GET", "HEAD"]),
            Route("/replicas_status", _ok, methods=["GET"]),
        ],
        lifespan=server.lifespan,
    )


async def _ok(_request: Request) -> Response:
    return PlainTextResponse("Ok.\n")


class _Server:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._waiting = 0

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Let the statement that runs come to its end before the engine is closed; those that wait are dropped."""
        yield
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def query(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        try:
            fields, body = await _read(request)
            if not body.strip() and request.method == "GET":
                return PlainTextResponse("Ok.\n")
            answer = await self._run(_statement(request, fields, body))
        except (RequestError, QueryError) as error:
            return self._error(error, query_id)
        return self._answer(answer, query_id, _encoding(request, fields))

    async def _run(self, statement: Statement) -> Answer:
        if self._waiting >= QUEUE:
            raise RequestError(f"{QUEUE} queries are waiting. (TOO_MANY_SIMULTANEOUS_QUERIES)", 503, 202)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.run, statement)
        finally:
            self._waiting -= 1

    def _headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": "weighbridge-embedded",
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.time_zone,
        }

    def _error(self, error: RequestError | QueryError, query_id: str) -> Response:
        status = error.status if isinstance(error, RequestError) else _STATUS.get(error.code, 500)
        headers = {**self._headers(query_id), "X-ClickHouse-Exception-Code": str(error.code)}
        if status == 503:
            headers["Retry-After"] = "1"
        return PlainTextResponse(f"{error}\n", status, headers)

    def _answer(self, answer: Answer, query_id: str, encoding: str | None) -> Response:
        headers = {**self._headers(query_id), "X-ClickHouse-Summary": _summary(answer)}
        media_type = "text/plain; charset=UTF-8"
        if answer.format is not None:
            headers["X-ClickHouse-Format"] = answer.format
            media_type = _CONTENT_TYPES.get(answer.format, media_type)
        body = answer.body
        if body and encoding is not None:
            headers["Content-Encoding"] = encoding
            body = codecs.compress(body, encoding)
        return Response(body, headers=headers, media_type=media_type)


async def _read(request: Request) -> tuple[dict[str, str], bytes]:
    """Return all parameters, those of a form among them, and the statement with its data."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise RequestError(
                f"The body is over {MAX_BODY} bytes; send smaller batches. (QUERY_IS_TOO_LARGE)", 413, 307
            )
        chunks.append(chunk)
    try:
        body = codecs.decompress(b"".join(chunks), request.headers.get("content-encoding", ""))
    except codecs.CodecError as error:
        raise RequestError(f"{error}. (UNKNOWN_COMPRESSION_METHOD)", 400, 89) from error
    fields = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        fields |= _form(request.headers["content-type"], body)
        body = b""
    query = fields.get("query", "").encode()
    return fields, query + b"\n" + body if query and body else query or body


def _form(content_type: str, body: bytes) -> dict[str, str]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message: Message = BytesParser(policy=HTTP).parsebytes(head + body)
    fields: dict[str, str] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise RequestError("External data is not supported here. (NOT_IMPLEMENTED)", 501, 48)
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload.decode()
    return fields


def _statement(request: Request, fields: dict[str, str], text: bytes) -> Statement:
    settings = {name: value for name, value in fields.items() if name not in _OURS and not name.startswith("param_")}
    if request.method == "GET":
        settings.setdefault("readonly", "2")  # as the real server: a link that is followed changes nothing
    return Statement(
        text=text,
        database=fields.get("database") or request.headers.get("x-clickhouse-database"),
        default_format=fields.get("default_format") or request.headers.get("x-clickhouse-format") or "TabSeparated",
        settings=settings,
        parameters={name[6:]: value for name, value in fields.items() if name.startswith("param_")},
    )


def _encoding(request: Request, fields: dict[str, str]) -> str | None:
    if fields.get("enable_http_compression") not in ("1", "true"):
        return None
    return codecs.choose(request.headers.get("accept-encoding", ""))


def _summary(answer: Answer) -> str:
    """Counts as strings, as the real server writes them."""
    return msgspec.json.encode(
        {
            "read_rows": str(answer.read_rows),
            "read_bytes": str(answer.read_bytes),
            "written_rows": str(answer.written_rows),
            "written_bytes": str(answer.written_bytes),
            "result_bytes": str(len(answer.body)),
            "elapsed_ns": str(answer.elapsed_ns),
        }
    ).decode()
