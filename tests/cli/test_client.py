"""Where commands find the billing API, and what they say when it refuses or is away."""

import msgspec
import pytest

TENANT = {"id": "ten_1", "name": "Search", "status": "active", "tags": {"a": "b"}, "cost_center": None}


def page(*rows, cursor=None):
    return {"data": list(rows), "next_cursor": cursor}


def endpoints(folder, url, token):
    folder.mkdir(exist_ok=True)
    (folder / "endpoints.json").write_bytes(msgspec.json.encode({"api": url, "api_token": token}))


def test_the_environment_names_the_api(weighbridge, api):
    api.answers["GET /v1/tenants"] = page(TENANT)
    ran = weighbridge("tenant", "list", "--json")
    assert ran.status == 0
    assert ran.json() == [TENANT]
    assert api.tokens == {"Bearer token-of-the-test"}


def test_flags_win_over_the_environment_and_that_over_the_data_folder(weighbridge, api, monkeypatch, tmp_path):
    api.answers["GET /v1/tenants"] = page()
    endpoints(tmp_path / ".weighbridge", api.url, "of-the-folder")
    assert weighbridge("tenant", "list", "--api-token", "of-the-flag").status == 0
    assert weighbridge("tenant", "list").status == 0
    monkeypatch.delenv("WEIGHBRIDGE_API_URL")
    monkeypatch.delenv("WEIGHBRIDGE_API_TOKEN")
    assert weighbridge("tenant", "list").status == 0
    assert api.tokens == {"Bearer of-the-flag", "Bearer token-of-the-test", "Bearer of-the-folder"}
    endpoints(tmp_path / "other", api.url, "of-another")
    assert weighbridge("tenant", "list", "--data-dir", "other").status == 0
    monkeypatch.setenv("WEIGHBRIDGE_DATA_DIR", str(tmp_path / "nowhere"))
    assert weighbridge("tenant", "list").status == 2
    assert api.tokens == {"Bearer of-the-flag", "Bearer token-of-the-test", "Bearer of-the-folder", "Bearer of-another"}


def test_nothing_that_runs_is_said_with_what_to_do(weighbridge):
    ran = weighbridge("tenant", "list")
    assert ran.status == 2
    assert "weighbridge up" in ran.err


@pytest.mark.parametrize("content", ["{broken", "[]"])
def test_a_broken_endpoints_file_is_named(weighbridge, tmp_path, content):
    (tmp_path / "endpoints.json").write_text(content)
    ran = weighbridge("tenant", "list", "--data-dir", ".")
    assert ran.status == 2
    assert "endpoints.json" in ran.err


@pytest.mark.parametrize(("url", "status"), [("http://127.0.0.1:1", 1), ("no-url", 2), ("http://[broken", 2)])
def test_an_api_that_is_away_is_said_with_what_to_do(weighbridge, url, status):
    ran = weighbridge("tenant", "list", "--api-url", url, "--api-token", "x")
    assert ran.status == status
    assert url in ran.err
    assert "--api-url" in ran.err


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ((404, {"detail": "there is no tenant 'x'", "code": "not_found"}), 1, "there is no tenant 'x' (not_found)"),
        ((422, {"detail": "name: too long", "code": "invalid_request"}), 2, "name: too long"),
        ((401, {"detail": "wrong token", "code": "invalid_token"}), 1, "WEIGHBRIDGE_API_TOKEN"),
        ((500, b"<html>"), 1, "500"),
        ((503, {"title": "Service Unavailable"}), 1, "Service Unavailable"),
        ((200, b"<html>"), 1, "--api-url"),
    ],
)
def test_a_refusal_is_one_line(weighbridge, api, answer, status, says):
    api.answers["GET /v1/tenants/x"] = answer
    ran = weighbridge("tenant", "show", "x")
    assert ran.status == status
    assert says in ran.err


def test_lists_are_read_to_their_end_and_no_further_than_asked(weighbridge, api):
    rows = [{**TENANT, "id": f"ten_{number}"} for number in range(150)]
    api.answers["GET /v1/tenants"] = [page(*rows[:100], cursor="next"), page(*rows[100:])]
    assert len(weighbridge("tenant", "list", "--json").json()) == 150
    assert "cursor=next" in api.asked[1][1]
    api.asked.clear()
    api.answers["GET /v1/tenants"] = [page(*rows[:10], cursor="next")]
    assert len(weighbridge("tenant", "list", "--most", "10", "--json").json()) == 10
    assert "limit=10" in api.asked[0][1]
