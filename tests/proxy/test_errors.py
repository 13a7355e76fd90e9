import msgspec
import pytest

from proxy.errors import STATUS, answer
from proxy.ports import Refusal


@pytest.mark.parametrize("code", STATUS)
def test_every_code_has_openais_shape(code: str) -> None:
    reply = answer(Refusal(code, "Words."), "req_1")
    status, kind = STATUS[code]
    assert reply.status == status
    error = msgspec.json.decode(reply.body)
    param = "model" if code.startswith("model_") else None
    assert error == {"error": {"message": "Words.", "type": kind, "param": param, "code": code}}
    headers = dict(reply.headers)
    assert headers[b"x-request-id"] == b"req_1"
    assert (b"retry-after" in headers) == (status in (429, 503))


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
        404: {"unknown_endpoint", "model_not_found"},
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
