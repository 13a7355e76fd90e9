"""Nobody without the admin token does anything; everybody gets a request id."""

import pytest

from tests.billing_api.conftest import TOKEN, Api


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xff"],
)
async def test_wrong_tokens_are_refused(api: Api, header: str | None) -> None:
    api.http.headers.pop("authorization")
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    for method, path in (("GET", "/v1/tenants"), ("POST", "/v1/tenants"), ("GET", "/v1/audit/actions")):
        response = await api.http.request(method, path, headers=headers, json={"name": "x"})
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["code"] == "invalid_token"
        assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    assert (await api.http.get("/v1/tenants", headers={"authorization": f"bearer {TOKEN}"})).status_code == 200


async def test_what_does_not_exist_is_a_problem_too(api: Api) -> None:
    assert (await api.get("/v1/nothing", 404))["code"] == "not_found"
    response = await api.http.put("/v1/tenants")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


async def test_health_metrics_and_the_description_need_no_token(api: Api) -> None:
    api.http.headers.pop("authorization")
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}
    assert (await api.http.get("/readyz")).json() == {"status": "ready"}
    described = (await api.http.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    text = (await api.http.get("/metrics")).text
    assert 'weighbridge_api_requests_total{method="GET",route="/readyz",status="200"} 1.0' in text


async def test_metrics_carry_the_route_and_no_id(api: Api) -> None:
    tenant = await api.tenant()
    await api.get(f"/v1/tenants/{tenant}")
    text = (await api.http.get("/metrics")).text
    assert 'route="/v1/tenants/{tenant_id}"' in text
    assert tenant not in text
