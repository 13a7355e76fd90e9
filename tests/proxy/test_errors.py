import msgspec
import pytest

from proxy.errors import PHRASES, STATUS, answer
from proxy.ports import Refusal


@pytest.mark.parametrize("code", STATUS)
def test_every_code_has_openais_shape(code: str) -> None:
    reply = answer(Refusal(code, "Words."), "req_1")
    status, kind = STATUS[code]
    assert reply.status == status
    error = msgspec.json.decode(reply.body)
    param = {"model": "model", "response": "response_id"}.get(code.partition("_")[0])
    assert error == {"error": {"message": "Words.", "type": kind, "param": param, "code": code}}
    headers = dict(reply.headers)
    assert headers[b"x-request-id"] == b"req_1"
    assert (b"retry-after" in headers) == (status in (429, 503))


ANTHROPIC = {
    "invalid_json": (400, "invalid_request_error"),
    "invalid_request": (400, "invalid_request_error"),
    "invalid_api_key": (401, "authentication_error"),
    "expired_api_key": (401, "authentication_error"),
    "tenant_suspended": (403, "permission_error"),
    "team_suspended": (403, "permission_error"),
    "user_suspended": (403, "permission_error"),
    "model_not_allowed": (403, "permission_error"),
    "endpoint_not_allowed": (403, "permission_error"),
    "address_not_allowed": (403, "permission_error"),
    "unknown_endpoint": (404, "not_found_error"),
    "model_not_found": (404, "not_found_error"),
    "response_not_found": (404, "not_found_error"),
    "method_not_allowed": (405, "not_found_error"),
    "unsupported_media_type": (415, "not_found_error"),
    "request_too_large": (413, "request_too_large"),
    "headers_too_large": (431, "request_too_large"),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "insufficient_quota": (429, "rate_limit_error"),
    "concurrency_limit_exceeded": (429, "rate_limit_error"),
    "internal_error": (500, "api_error"),
    "upstream_unreachable": (502, "api_error"),
    "upstream_error": (502, "api_error"),
    "upstream_timeout": (504, "timeout_error"),
    "server_overloaded": (529, "overloaded_error"),
    "limits_unavailable": (529, "overloaded_error"),
    "spool_full": (529, "overloaded_error"),
    "draining": (529, "overloaded_error"),
}


@pytest.mark.parametrize("code", STATUS)
def test_every_code_has_anthropics_shape(code: str) -> None:
    reply = answer(Refusal(code, "Words."), "req_1", "anthropic")
    status, kind = ANTHROPIC[code]
    assert reply.status == status
    assert PHRASES[status]
    error = {"type": "error", "error": {"type": kind, "message": "Words."}, "request_id": "req_1"}
    assert msgspec.json.decode(reply.body) == error
    headers = dict(reply.headers)
    assert headers[b"x-request-id"] == headers[b"request-id"] == b"req_1"
    assert (b"retry-after" in headers) == (status in (429, 529))


def test_statuses_are_promises() -> None:
    by_status: dict[int, set[str]] = {}
    for code, (status, _) in STATUS.items():
        by_status.setdefault(status, set()).add(code)
    assert by_status == {
        400: {"invalid_json", "invalid_request"},
        401: {"invalid_api_key", "expired_api_key"},
        403: {
            "tenant_suspended",
            "team_suspended",
            "user_suspended",
            "model_not_allowed",
            "endpoint_not_allowed",
            "address_not_allowed",
        },
        404: {"unknown_endpoint", "model_not_found", "response_not_found"},
        405: {"method_not_allowed"},
        415: {"unsupported_media_type"},
        413: {"request_too_large"},
        431: {"headers_too_large"},
        429: {"rate_limit_exceeded", "insufficient_quota", "concurrency_limit_exceeded"},
        500: {"internal_error"},
        502: {"upstream_unreachable", "upstream_error"},
        504: {"upstream_timeout"},
        503: {"server_overloaded", "limits_unavailable", "spool_full", "draining"},
    }
