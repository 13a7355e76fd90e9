"""`weighbridge apply` on a real billing API: the difference is printed and made, and a second run has nothing to do."""

import sys

import httpx
import pytest

from tests.servers import ROOT, Server, free_port

EXAMPLE = ROOT / "deploy" / "examples" / "fleet.yaml"
TOKEN = "token-of-the-first-admin"
SERVE = (
    "from billing_api import migrate, service; from billing_api.settings import ApiSettings;"
    "from contracts.settings import load; settings = load(ApiSettings);"
    "migrate.upgrade(settings.database_url); service.run(settings)"
)
FLEET = """
plans:
  - name: gold
    limits:
      - {meter: total_tokens, window: minute, amount: 1000}
      - {meter: concurrency, amount: 4}
tenants:
  - name: Search
    external_id: search
    plan: gold
    limits:
      - {meter: cost, window: month, amount: 10.50}
    teams:
      - {name: Ranking, plan: gold}
    users:
      - {name: ada, team: Ranking, status: suspended}
"""


@pytest.fixture
def real(tmp_path_factory, weighbridge, monkeypatch):
    """A billing API on an empty database, as commands find it by their environment."""
    folder = tmp_path_factory.mktemp("api")
    port = free_port()
    settings = {
        "DATABASE_URL": f"sqlite:///{folder / 'api.db'}",
        "API_TOKEN": TOKEN,
        "API_LISTEN": f"127.0.0.1:{port}",
        "KEY_PEPPER": "pepper-of-these-tests",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    environment = [f"WEIGHBRIDGE_{name}={value}" for name, value in settings.items()]
    command = ["env", f"PYTHONPATH={ROOT}", *environment, sys.executable, "-c", SERVE]
    url = f"http://127.0.0.1:{port}"
    server = Server(command, url, folder / "log", lambda: ready(url))
    monkeypatch.setenv("WEIGHBRIDGE_API_URL", url)
    monkeypatch.setenv("WEIGHBRIDGE_API_TOKEN", TOKEN)
    with httpx.Client(base_url=f"{url}/v1", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
        yield http
    server.stop()


def ready(url):
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def rows(http, path, **query):
    return http.get(path, params=query).raise_for_status().json()["data"]


@pytest.fixture
def apply(real, weighbridge, tmp_path):
    """Apply a text, and return how that ended."""

    def run(text, *flags):
        (tmp_path / "fleet.yaml").write_text(text)
        return weighbridge("apply", "-f", "fleet.yaml", *flags)

    return run


def test_the_example_is_applied_once(real, weighbridge):
    first = weighbridge("apply", "-f", str(EXAMPLE))
    assert (first.status, first.err) == (0, "11 created\n")
    assert {line[0] for line in first.out.splitlines()} == {"+"}
    second = weighbridge("apply", "-f", str(EXAMPLE))
    assert (second.status, second.out, second.err) == (0, "", "nothing to do\n")
    assert {plan["name"] for plan in rows(real, "/plans")} == {"standard", "nightly"}
    (book,) = rows(real, "/price-books")
    assert {price["price"] for price in book["prices"]} == {"0.50", "0.05", "1.50"}


def test_what_is_made_is_what_the_file_says(real, apply):
    assert apply(FLEET).status == 0
    (plan,), (tenant,), (team,), (user,) = (rows(real, path) for path in ("/plans", "/tenants", "/teams", "/users"))
    assert {limit["meter"]: limit["amount"] for limit in plan["limits"]} == {"total_tokens": "1000", "concurrency": "4"}
    assert (tenant["plan"], tenant["external_id"], tenant["currency"]) == (plan["id"], "search", "EUR")
    assert (team["tenant"], team["plan"]) == (tenant["id"], plan["id"])
    assert (user["team"], user["status"]) == (team["id"], "suspended")
    (limit,) = rows(real, "/limits", tenant=tenant["id"])
    assert (limit["meter"], limit["amount"]) == ("cost", "10.50")


def test_a_dry_run_prints_and_does_nothing(real, apply):
    ran = apply(FLEET, "--dry-run")
    assert ran.out.splitlines() == [
        "+ plan gold: limits [total_tokens/minute=1000, concurrency=4]",
        "+ tenant Search: plan gold",
        "+ team Search/Ranking: plan gold",
        "+ user Search/ada",
        "~ user Search/ada: status active -> suspended",
        "+ limit cost/month of tenant Search: amount 10.50",
    ]
    assert ran.err == "5 to create, 1 to change\n"
    assert rows(real, "/plans") == []
    assert apply(FLEET, "--dry-run", "--json").json()[1] == {
        "change": "+",
        "what": "tenant Search",
        "details": {"plan": ["", "gold"]},
    }


def test_a_changed_file_changes_only_what_differs(real, apply):
    apply(FLEET)
    changed = FLEET.replace("name: Search", "name: Find").replace("10.50", "12").replace("amount: 4", "amount: 5")
    ran = apply(changed.replace("{name: Ranking, plan: gold}", "{name: Ranking}").replace(", status: suspended", ""))
    assert ran.out.splitlines() == [
        "~ plan gold: limits [concurrency=4, total_tokens/minute=1000] -> [total_tokens/minute=1000, concurrency=5]",
        "~ tenant Find: name Search -> Find",
        "~ team Find/Ranking: plan gold -> none",
        "~ limit cost/month of tenant Find: amount 10.50 -> 12",
    ]
    (tenant,), (user,) = rows(real, "/tenants"), rows(real, "/users")
    assert (tenant["name"], user["status"]) == ("Find", "suspended")
    assert [limit["amount"] for limit in rows(real, "/limits")] == ["12"]


def test_only_a_pruned_run_deletes(real, apply):
    apply(FLEET)
    (tenant,) = rows(real, "/tenants")
    key = real.post("/keys", json={"tenant": tenant["id"]}).json()["id"]
    of_key = {"subject": {"key": key}, "meter": "concurrency", "amount": "1"}
    assert real.post("/limits", json=of_key).is_success
    real.post("/tenants", json={"name": "Other"})
    smaller = "tenants:\n  - name: Search\n    external_id: search\n    teams: [{name: Ranking}]\n"
    kept = apply(smaller)
    assert kept.err == "2 changed\n4 not named in the file stay; --prune deletes\n"
    ran = apply(smaller, "--prune")
    assert ran.out.splitlines() == [
        "- limit cost/month of Search",
        "- user Search/ada",
        "- tenant Other",
        "- plan gold",
    ]
    assert apply(smaller, "--prune").err == "nothing to do\n"
    assert [row["name"] for row in rows(real, "/tenants")] == ["Search"]
    assert [limit["subject"]["key"] for limit in rows(real, "/limits")] == [key]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (FLEET.replace("plan: gold}", "plan: silver}"), "line 14: tenants[0].teams[0].plan: there is no plan 'silver'"),
        (
            FLEET.replace("    plan: gold\n", "    currency: USD\n"),
            "line 10: tenants[0].currency: tenant Search is there",
        ),
    ],
    ids=["unknown plan", "another currency"],
)
def test_what_only_the_api_knows_to_be_wrong_is_said_before_anything_is_done(real, apply, text, says):
    apply(FLEET)
    before = rows(real, "/audit/actions")
    ran = apply(text)
    assert (ran.status, ran.out) == (2, "")
    assert says in ran.err
    assert rows(real, "/audit/actions") == before


def test_two_of_a_name_need_an_external_id(real, apply):
    for _ in range(2):
        real.post("/tenants", json={"name": "Twin"})
    ran = apply("tenants:\n  - name: Twin\n")
    assert ran.status == 2
    assert "line 2: tenants[0]: there are 2 called Twin: give external_id" in ran.err


def test_a_price_book_never_changes_but_its_end_may_be_set(real, apply):
    book = (
        "price_books:\n- name: 2099\n  currency: EUR\n  effective_from: 2099-01-01T00:00:00Z\n"
        "  prices: [{meter: input_tokens, price: 0.50}]\n"
    )
    assert apply(book).err == "1 created\n"
    assert apply(book.replace("0.50", "0.5")).err == "nothing to do\n"
    ran = apply(book.replace("0.50", "0.60"))
    assert "price book 2099 is there with another prices, which never changes" in ran.err
    ended = apply(f"{book}  effective_to: 2100-01-01T00:00:00Z\n")
    assert ended.out == "~ price book 2099: effective_to none -> 2100-01-01T00:00:00Z\n"


def test_a_failure_says_what_failed_and_the_next_run_goes_on(real, apply):
    apply(FLEET)
    (plan,) = rows(real, "/plans")
    other = real.post("/tenants", json={"name": "Elsewhere", "external_id": "e"}).json()["id"]
    key = real.post("/keys", json={"tenant": other, "plan": plan["id"]}).json()["id"]
    text = "tenants:\n  - {name: Elsewhere, external_id: e}\n"
    ran = apply(text, "--prune")
    assert ran.status == 1
    assert "plan gold: 1 of tenants, teams, users and keys have" in ran.err
    assert "1 of 2 changes are made; apply again to go on" in ran.err
    assert ran.out == "- tenant Search\n"
    real.post(f"/keys/{key}/revoke")
    assert apply(text, "--prune").out == "- plan gold\n"
