"""Errors as RFC 9457 problems: a domain raises `Problem` with a stable code, and this file alone turns it into an answer."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from billing_api.wire import FORMS
from contracts.money import MoneyError

MEDIA_TYPE: Final = "application/problem+json"
_CODES: Final = {
    400: "invalid_json",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
}

log = structlog.get_logger()


class ProblemView(BaseModel):
    """An error. `code` is stable and for programs; `detail` is for people. Further members depend on the code."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None = None


class Problem(Exception):  # noqa: N818  # RFC 9457 calls it so
    """A refusal that the client can act on.

    Args:
        status: HTTP status.
        code: stable name of the refusal.
        detail: one sentence that says what is wrong and what to do.
        headers: further headers of the answer.
        members: further JSON members of the answer.

    """

    def __init__(
        self, status: int, code: str, detail: str, headers: dict[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers, self.members = status, code, detail, headers, members


def not_found(kind: str, wanted: str) -> Problem:
    """Return the problem of an id that does not exist."""
    return Problem(404, "not_found", f"there is no {kind} {wanted!r}")


def answer(request: Request, problem: Problem) -> JSONResponse:
    """Return a problem as HTTP."""
    body = {
        "type": f"urn:weighbridge:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": request.scope.get("request_id"),
        **problem.members,
    }
    return JSONResponse(body, problem.status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Turn every exception that can leave a request into a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(MoneyError, _money)
    app.add_exception_handler(IntegrityError, _conflict)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(OSError, _database)
    app.add_exception_handler(PoolTimeoutError, _database)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return answer(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [  # without `input` and `ctx`: they may hold a secret
        {"field": _plain(".".join(str(part) for part in details["loc"])), "detail": _plain(_words(details))}
        for details in error.errors()[:20]
    ]
    if any(details["type"] == "json_invalid" for details in error.errors()):
        return answer(request, Problem(400, "invalid_json", "the body is not JSON", errors=found))
    first = f"{found[0]['field']}: {found[0]['detail']}" if found else "the request is not valid"
    return answer(request, Problem(422, "invalid_request", first, errors=found))


def _words(details: Mapping[str, Any]) -> str:
    """Return what is wrong with a field, without what only programmers understand."""
    if details["type"] == "string_pattern_mismatch":
        return FORMS.get(details["ctx"]["pattern"], "not of the right form")
    if details["type"] == "extra_forbidden":
        return "there is no such field"
    return str(details["msg"]).removeprefix("Value error, ")


def _plain(text: str) -> str:
    return text.encode(errors="replace").decode()  # JSON can carry half of a surrogate pair, UTF-8 cannot


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "invalid_request")
    headers = dict(error.headers) if error.headers else None
    return answer(request, Problem(error.status_code, code, str(error.detail), headers))


async def _money(request: Request, error: Exception) -> JSONResponse:
    return answer(request, Problem(422, "invalid_amount", str(error)))


async def _conflict(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IntegrityError)
    expected = str(error.orig).startswith(("UNIQUE", "FOREIGN KEY"))  # as SQLite says it
    if not expected and getattr(error.orig, "sqlstate", None) not in {"23503", "23505"}:
        return await _unexpected(request, error)
    log.info("conflict", error=str(error.orig))
    return answer(request, Problem(409, "conflict", "this would duplicate or orphan a record that exists"))


async def _database(request: Request, error: Exception) -> JSONResponse:
    log.error("database_unavailable", error=str(error.__cause__ or error))
    problem = Problem(503, "database_unavailable", "the SQL database does not answer; try again", {"retry-after": "1"})
    return answer(request, problem)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("internal_error", exc_info=error)
    return answer(request, Problem(500, "internal_error", "an error of ours; the log has the request_id"))
