"""What the proxy answers itself: the table of codes, and an error's body in the shape that an API's clients expect."""

import math
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from proxy.ports import Refusal

_INVALID: Final = "invalid_request_error"

STATUS: Final[dict[str, tuple[int, str]]] = {
    "invalid_json": (400, _INVALID),
    "invalid_request": (400, _INVALID),
    "invalid_api_key": (401, _INVALID),
    "expired_api_key": (401, _INVALID),
    "tenant_suspended": (403, "permission_error"),
    "team_suspended": (403, "permission_error"),
    "user_suspended": (403, "permission_error"),
    "model_not_allowed": (403, "permission_error"),
    "endpoint_not_allowed": (403, "permission_error"),
    "address_not_allowed": (403, "permission_error"),
    "unknown_endpoint": (404, _INVALID),
    "model_not_found": (404, _INVALID),
    "response_not_found": (404, _INVALID),
    "method_not_allowed": (405, _INVALID),
    "unsupported_media_type": (415, _INVALID),
    "request_too_large": (413, _INVALID),
    "headers_too_large": (431, _INVALID),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "insufficient_quota": (429, "insufficient_quota"),
    "concurrency_limit_exceeded": (429, "rate_limit_error"),
    "internal_error": (500, "server_error"),
    "upstream_unreachable": (502, "server_error"),
    "upstream_error": (502, "server_error"),
    "upstream_timeout": (504, "server_error"),
    "server_overloaded": (503, "server_error"),
    "limits_unavailable": (503, "server_error"),
    "spool_full": (503, "server_error"),
    "draining": (503, "server_error"),
}
"""Code → status and OpenAI's error type. Codes and statuses are promises to clients."""

_OVERLOADED: Final = 529
ANTHROPIC: Final[dict[int, tuple[int, str]]] = {
    400: (400, "invalid_request_error"),
    401: (401, "authentication_error"),
    403: (403, "permission_error"),
    404: (404, "not_found_error"),
    405: (405, "not_found_error"),
    413: (413, "request_too_large"),
    415: (415, "not_found_error"),
    429: (429, "rate_limit_error"),
    431: (431, "request_too_large"),
    500: (500, "api_error"),
    502: (502, "api_error"),
    503: (_OVERLOADED, "overloaded_error"),
    504: (504, "timeout_error"),
}
"""OpenAI's status → Anthropic's status and error type."""

PHRASES: Final[dict[int, bytes]] = {status.value: status.phrase.encode() for status in HTTPStatus} | {
    _OVERLOADED: b"Overloaded"
}
_PARAM: Final = {"model_not_found": "model", "model_not_allowed": "model", "response_not_found": "response_id"}
_encode = msgspec.json.Encoder().encode

Headers = list[tuple[bytes, bytes]]
Shape = Literal["openai", "anthropic"]
"""Whose shape an error's body has: each dialect's clients expect their own."""


class Answer:
    """A whole answer of the proxy's own. `headers` lack what frames the body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def own(body: bytes, request_id: str) -> Answer:
    """Return an answer of JSON that the proxy gives in vLLM's place."""
    return Answer(200, [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())], body)


def answer(refusal: Refusal, request_id: str, shape: Shape = "openai") -> Answer:
    """Return the answer for a refusal; a code that the table lacks raises KeyError."""
    status, kind = STATUS[refusal.code]
    headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())]
    if shape == "anthropic":
        status, kind = ANTHROPIC[status]
        headers.append((b"request-id", request_id.encode()))
        error: dict[str, object] = {"type": kind, "message": refusal.message}
        body = _encode({"type": "error", "error": error, "request_id": request_id})
    else:
        error = {"message": refusal.message, "type": kind, "param": _PARAM.get(refusal.code), "code": refusal.code}
        body = _encode({"error": error})
    if status in (429, 503, _OVERLOADED):
        if refusal.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(refusal.retry_after))))
        if refusal.retry_after is None or refusal.code == "insufficient_quota":
            headers.append((b"x-should-retry", b"false"))
    elif status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(status, headers, body)
