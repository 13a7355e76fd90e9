"""What commands send to the billing API, and what they print of its answers."""

import pytest

from cli.api_command import tags
from cli.errors import CommandError

KEY = {"id": "key_1", "name": "ci", "tenant": "ten_1", "status": "active", "secret": "wb_live_x", "models": ["a", "b"]}


def page(*rows):
    return {"data": list(rows), "next_cursor": None}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (
            ["tenant", "create", "Search", "--time-zone", "Europe/Berlin", "--currency", "EUR", "--tag", "a=b=c"],
            (
                "POST",
                "/v1/tenants",
                {"name": "Search", "time_zone": "Europe/Berlin", "currency": "EUR", "tags": {"a": "b=c"}},
            ),
        ),
        (["team", "create", "R", "--tenant", "ten_1"], ("POST", "/v1/teams", {"name": "R", "tenant": "ten_1"})),
        (
            ["user", "create", "ada", "--tenant", "ten_1", "--team", "team_1", "--external-id", "7"],
            ("POST", "/v1/users", {"name": "ada", "tenant": "ten_1", "team": "team_1", "external_id": "7"}),
        ),
        (["tenant", "suspend", "ten_1"], ("PATCH", "/v1/tenants/ten_1", {"status": "suspended"})),
        (["tenant", "record-prompts", "ten_1"], ("PATCH", "/v1/tenants/ten_1", {"record_prompts": True})),
        (["tenant", "record-prompts", "ten_1", "--off"], ("PATCH", "/v1/tenants/ten_1", {"record_prompts": False})),
        (["user", "resume", "user_1"], ("PATCH", "/v1/users/user_1", {"status": "active"})),
        (["team", "set", "team_1", "--name", "New"], ("PATCH", "/v1/teams/team_1", {"name": "New"})),
        (["team", "delete", "team_1"], ("DELETE", "/v1/teams/team_1", None)),
        (
            ["key", "create", "--tenant", "ten_1", "--model", "a", "--model", "b", "--address", "10.0.0.0/8"],
            ("POST", "/v1/keys", {"tenant": "ten_1", "models": ["a", "b"], "addresses": ["10.0.0.0/8"]}),
        ),
        (
            ["key", "rotate", "key_1", "--overlap-seconds", "60"],
            ("POST", "/v1/keys/key_1/rotate", {"overlap_seconds": 60}),
        ),
        (
            ["key", "set", "key_1", "--expires-at", "2027-01-01", "--endpoint", "/v1/embeddings", "--clear", "models"],
            (
                "PATCH",
                "/v1/keys/key_1",
                {"expires_at": "2027-01-01T00:00:00Z", "endpoints": ["/v1/embeddings"], "models": None},
            ),
        ),
        (["tenant", "set", "ten_1", "--plan", "plan_1"], ("PATCH", "/v1/tenants/ten_1", {"plan": "plan_1"})),
        (["user", "set", "user_1", "--clear", "plan"], ("PATCH", "/v1/users/user_1", {"plan": None})),
        (
            [
                "plan",
                "create",
                "gold",
                "--limit",
                "total_tokens/minute=100000",
                "--limit",
                "requests/second@org/m@1=5",
                "--limit",
                "concurrency=8",
                "--priority",
                "batch",
                "--max-tokens",
                "9",
            ],
            (
                "POST",
                "/v1/plans",
                {
                    "name": "gold",
                    "limits": [
                        {"meter": "total_tokens", "window": "minute", "amount": "100000"},
                        {"meter": "requests", "window": "second", "model": "org/m@1", "amount": "5"},
                        {"meter": "concurrency", "amount": "8"},
                    ],
                    "priority": "batch",
                    "max_tokens": 9,
                },
            ),
        ),
        (
            ["plan", "set", "plan_1", "--weight", "7", "--clear", "limits", "--clear", "models"],
            ("PATCH", "/v1/plans/plan_1", {"weight": 7, "limits": [], "models": None}),
        ),
        (["plan", "delete", "plan_1"], ("DELETE", "/v1/plans/plan_1", None)),
        (
            [
                "limit",
                "create",
                "--tenant",
                "ten_1",
                "--model",
                "a",
                "--meter",
                "cost",
                "--window",
                "month",
                "--amount",
                "99.50",
                "--notify-at",
                "80",
                "--mode",
                "shadow",
            ],
            (
                "POST",
                "/v1/limits",
                {
                    "subject": {"tenant": "ten_1", "model": "a"},
                    "meter": "cost",
                    "window": "month",
                    "amount": "99.50",
                    "notify_at": [80],
                    "mode": "shadow",
                },
            ),
        ),
        (
            ["limit", "set", "lim_1", "--amount", "5", "--when-reached", "block", "--clear", "degrade_to"],
            ("PATCH", "/v1/limits/lim_1", {"amount": "5", "when_reached": "block", "degrade_to": None}),
        ),
        (["limit", "state", "lim_1"], ("GET", "/v1/limits/lim_1/state", None)),
        (["limit", "delete", "lim_1"], ("DELETE", "/v1/limits/lim_1", None)),
        (["key", "revoke", "key_1"], ("POST", "/v1/keys/key_1/revoke", None)),
        (
            [
                "price",
                "create",
                "2026",
                "--effective-from",
                "2999-01-01",
                "--output-tokens",
                "1.50",
                "--tenant",
                "ten_1",
            ],
            (
                "POST",
                "/v1/price-books",
                {
                    "name": "2026",
                    "currency": "EUR",
                    "effective_from": "2999-01-01T00:00:00Z",
                    "tenant": "ten_1",
                    "prices": [
                        {"model": "*", "meter": "output_tokens", "pricing": "flat", "per": 1_000_000, "price": "1.50"}
                    ],
                },
            ),
        ),
        (
            ["invoice", "preview", "--tenant", "ten_1", "--period", "2026-11"],
            ("POST", "/v1/invoices/preview", {"tenant": "ten_1", "period": "2026-11"}),
        ),
        (
            ["invoice", "create", "--tenant", "ten_1", "--from", "2026-11-01", "--to", "2026-11-02T00:00:00+01:00"],
            (
                "POST",
                "/v1/invoices",
                {"tenant": "ten_1", "from": "2026-11-01T00:00:00Z", "to": "2026-11-01T23:00:00Z"},
            ),
        ),
        (["invoice", "finalize", "inv_1"], ("POST", "/v1/invoices/inv_1/finalize", {"accept_missing": False})),
        (["invoice", "void", "inv_1"], ("POST", "/v1/invoices/inv_1/void", None)),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_is_sent(weighbridge, api, words, asked):
    api.answers[f"{asked[0]} {asked[1]}"] = {"id": "x_1", "name": "answer"}
    ran = weighbridge(*words)
    assert (ran.status, ran.err) == (0, "")
    assert "x_1" in ran.out
    assert api.asked == [asked]


@pytest.mark.parametrize(
    "words",
    [
        ["tenant", "create", "x", "--tag", "novalue"],
        ["price", "create", "x"],
        ["price", "create", "x", "--input-tokens", "1", "--file", "prices.json"],
        ["price", "create", "x", "--file", "absent.json"],
        ["price", "create", "x", "--input-tokens", "1", "--effective-from", "tomorrow"],
        ["invoice", "preview", "--tenant", "ten_1"],
        [
            "invoice",
            "preview",
            "--tenant",
            "ten_1",
            "--period",
            "2026-11",
            "--from",
            "2026-11-01",
            "--to",
            "2026-11-02",
        ],
        ["invoice", "preview", "--tenant", "ten_1", "--from", "2026-11-01"],
        ["invoice", "download", "inv_1", "invoice.exe"],
        ["usage", "--from", "yesterday"],
        ["usage", "--to", "2026-13-01"],
        ["key", "import", "absent.txt", "--tenant", "ten_1"],
        ["key", "set", "key_1", "--clear", "name"],
        ["audit", "requests", "--decision", "refused"],
        ["plan", "create", "x", "--limit", "tokens/minute=5"],
        ["plan", "create", "x", "--limit", "total_tokens/week=5"],
        ["plan", "create", "x", "--limit", "total_tokens/minute"],
        ["limit", "create", "--tenant", "ten_1", "--meter", "tokens", "--amount", "5"],
        ["apply", "-f", "absent.yaml"],
        ["key", "rotate", "key_1", "--overlap-seconds", "-1"],
        ["dashboards", "deploy"],
    ],
    ids=" ".join,
)
def test_bad_input_is_refused_before_anything_is_asked(weighbridge, api, words):
    ran = weighbridge(*words)
    assert ran.status == 2
    assert ran.err
    assert api.asked == []


def test_keys_are_imported_from_a_file_and_never_printed(weighbridge, api, tmp_path):
    api.answers["POST /v1/keys"] = KEY
    (tmp_path / "keys.txt").write_text("# theirs\nsk-first-key-secret  the first one\n\nsk-second-key-secret\n")
    ran = weighbridge("key", "import", "keys.txt", "--tenant", "ten_1")
    assert ran.status == 0
    assert [body for _, _, body in api.asked] == [
        {"tenant": "ten_1", "secret": "sk-first-key-secret", "name": "the first one"},
        {"tenant": "ten_1", "secret": "sk-second-key-secret"},
    ]
    assert "secret" not in ran.out
    assert ran.err == "2 imported\n"


def test_imported_keys_get_the_rights_that_are_given(weighbridge, api, tmp_path):
    api.answers["POST /v1/keys"] = KEY
    (tmp_path / "keys.txt").write_text("sk-first-key-secret\n")
    rights = ["--model", "a", "--endpoint", "/v1/embeddings", "--address", "10.0.0.0/8", "--plan", "plan_1"]
    assert weighbridge("key", "import", "keys.txt", "--tenant", "ten_1", *rights).status == 0
    (_, _, body) = api.asked[0]
    scopes = {"models": ["a"], "endpoints": ["/v1/embeddings"], "addresses": ["10.0.0.0/8"], "plan": "plan_1"}
    assert scopes.items() <= body.items()


def test_plans_and_limits_are_tables(weighbridge, api):
    limit = {"id": "lim_1", "meter": "total_tokens", "window": "minute", "amount": "5", "model": "a"}
    api.answers["GET /v1/plans"] = page({"id": "plan_1", "name": "gold", "limits": [limit]})
    assert "total_tokens/minute@a=5" in weighbridge("plan", "list").out
    subject = {"tenant": "ten_1", "team": "team_1", "user": None, "key": None, "model": "a"}
    api.answers["GET /v1/limits"] = page({**limit, "subject": subject, "plan": None})
    header, line = (text.split("\t") for text in weighbridge("limit", "list", "--tenant", "ten_1").out.splitlines())
    assert dict(zip(header, line, strict=True))["whose"] == "team_1"


def test_an_import_that_fails_says_how_far_it_came(weighbridge, api, tmp_path):
    api.answers["POST /v1/keys"] = [KEY, (404, {"detail": "there is no tenant 'ten_1'", "code": "not_found"})]
    (tmp_path / "keys.txt").write_text("# theirs\nsk-first-key-secret\nsk-second-key-secret\nsk-third-key-secret\n")
    ran = weighbridge("key", "import", "keys.txt", "--tenant", "ten_1")
    assert ran.status == 1
    assert "line 3: there is no tenant" in ran.err
    assert "sk-" not in ran.err


def test_an_import_can_be_repeated(weighbridge, api, tmp_path):
    api.answers["POST /v1/keys"] = [KEY, (409, {"detail": "this key is stored already", "code": "key_exists"}), KEY]
    (tmp_path / "keys.txt").write_text("sk-first-key-secret\nsk-second-key-secret\nsk-third-key-secret\n")
    ran = weighbridge("key", "import", "keys.txt", "--tenant", "ten_1", "--json")
    assert ran.status == 0
    assert ran.err == "2 imported, 1 was there already\n"
    assert len(ran.json()) == 2


@pytest.mark.parametrize("wrong", ["sk-short", "sk-with-an-umlaut-ü", "k" * 513, "sk-with-a-\x07-bell-inside"])
def test_a_line_that_is_no_key_is_named_before_any_is_imported(weighbridge, api, tmp_path, wrong):
    (tmp_path / "keys.txt").write_text(f"sk-first-key-secret\n\n{wrong} its name\n", "utf-8")
    ran = weighbridge("key", "import", "keys.txt", "--tenant", "ten_1")
    assert ran.status == 2
    assert "line 3" in ran.err
    assert "16 to 512" in ran.err
    assert wrong not in ran.err
    assert api.asked == []


def test_an_empty_file_of_keys_is_refused(weighbridge, api, tmp_path):
    (tmp_path / "keys.txt").write_text("# nothing\n\n")
    assert weighbridge("key", "import", "keys.txt", "--tenant", "ten_1").status == 2


def test_usage_is_a_table_of_groups_and_sums(weighbridge, api):
    row = {"bucket_start": "2026-11-01T00:00:00Z", "group": {"tenant": "ten_1"}, "requests": 3, "input_tokens": None}
    api.answers["GET /v1/usage"] = page(row)
    api.answers["GET /v1/tenants"] = page({"id": "ten_1", "name": "Search"})
    ran = weighbridge(
        "usage", "--from", "7d", "--bucket", "day", "--group-by", "tenant", "--model", "a", "--model", "b"
    )
    header, line = (text.split("\t") for text in ran.out.splitlines())
    assert header == ["bucket_start", "tenant", "tenant_name", "requests"]
    assert line == ["2026-11-01T00:00:00Z", "ten_1", "Search", "3"]
    (_, path, _) = api.asked[0]
    assert "model=a&model=b" in path
    assert weighbridge("usage", "--json").json()[0]["input_tokens"] is None


def test_usage_without_a_cost_and_rows_left_out_are_said(weighbridge, api):
    priced = {"group": {"model": "a"}, "requests": 3, "billed_cost": "0.01", "currency": "EUR"}
    free = {"group": {"model": "b"}, "requests": 2, "billed_cost": None}
    idle = {"group": {"model": "c"}, "requests": 0, "billed_cost": None}
    api.answers["GET /v1/usage"] = [page(priced, idle), page(priced, free), page(priced, free)]
    assert weighbridge("usage", "--group-by", "model").err == ""
    assert "weighbridge price list" in weighbridge("usage", "--group-by", "model").err
    ran = weighbridge("usage", "--group-by", "model", "--most", "1")
    assert "more than these 1 rows" in ran.err
    assert "price list" not in ran.err
    assert len(ran.out.splitlines()) == 2


def test_usage_of_an_unknown_tenant_is_no_empty_table(weighbridge, api):
    api.answers["GET /v1/tenants/ten_x"] = (404, {"detail": "there is no tenant 'ten_x'", "code": "not_found"})
    ran = weighbridge("usage", "--tenant", "ten_x")
    assert ran.status == 1
    assert "there is no tenant 'ten_x'" in ran.err


def test_an_invoice_shows_its_lines_below(weighbridge, api):
    api.answers["GET /v1/invoices/inv_1"] = {
        "id": "inv_1",
        "total": "0.01",
        "lines": [{"model": "a", "amount": "0.01"}],
    }
    ran = weighbridge("invoice", "show", "inv_1")
    assert ran.out == "id\tinv_1\ntotal\t0.01\n\nlines:\nmodel\tamount\na\t0.01\n"


def test_an_invoice_is_saved_as_it_came(weighbridge, api, tmp_path):
    api.answers["GET /v1/invoices/inv_1.csv"] = (200, b"a,b\r\n1,2\r\n")
    assert weighbridge("invoice", "download", "inv_1", "invoice.csv").status == 0
    assert (tmp_path / "invoice.csv").read_bytes() == b"a,b\r\n1,2\r\n"
    assert weighbridge("invoice", "download", "inv_1", "no-folder/invoice.csv").status == 2


def test_the_audit_is_searched(weighbridge, api):
    api.answers["GET /v1/audit/requests"] = page(
        {"event_time": "t", "tenant": "ten_1", "decision": "denied", "code": "c"}
    )
    api.answers["GET /v1/audit/actions"] = page(
        {"at": "t", "actor": "admin", "action": "key.create", "target": "key_1"}
    )
    assert "denied" in weighbridge("audit", "requests", "--decision", "denied", "--from", "1h").out
    assert "key.create" in weighbridge("audit", "actions").out
    assert "decision=denied" in api.asked[0][1]


def test_tags_are_pairs():
    assert tags(None) is None
    assert tags(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    for wrong in ("a", "=b", "a="):
        with pytest.raises(CommandError, match="NAME=VALUE"):
            tags([wrong])


def test_dashboards_are_rendered_and_checked(weighbridge, tmp_path):
    assert weighbridge("dashboards", "check").status == 0
    assert weighbridge("dashboards", "render").json()["panels"]
    assert weighbridge("dashboards", "render", "fleet.json").status == 0
    assert (tmp_path / "fleet.json").stat().st_size > 1000
    assert weighbridge("dashboards", "render", "no-folder/fleet.json").status == 2


@pytest.mark.parametrize("words", [["key", "list", "--tenant", "Search"], ["key", "create", "--tenant", "x-1"]])
def test_what_cannot_be_an_id_is_unknown(weighbridge, api, words):
    ran = weighbridge(*words)
    assert (ran.status, api.asked) == (1, [])
    assert f"there is no tenant '{words[-1]}'" in ran.err


@pytest.mark.parametrize(("url", "status"), [("nonsense", 2), ("http://127.0.0.1:1", 1)])
def test_a_grafana_that_is_away_or_none_is_said_in_words(weighbridge, monkeypatch, url, status):
    monkeypatch.setenv("WEIGHBRIDGE_GRAFANA_TOKEN", "x")
    ran = weighbridge("dashboards", "deploy", "--grafana-url", url)
    assert ran.status == status
    assert url in ran.err
    assert "--grafana-url" in ran.err
    assert "Error" not in ran.err
    assert "object" not in ran.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["invoice", "preview", "--tenant", "ten_1", "--period", "2026-13"], "YYYY-MM"),
        (["tenant", "create", "Search", "--currency", "euro"], "ISO 4217"),
        (["price", "create", "2026", "--input-tokens", "1", "--currency", "eur"], "ISO 4217"),
        (["sim", "--listen", "foo"], "HOST:PORT"),
        (["api", "--redis-url", "foo"], "such as redis://"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_right_form_is_said_in_words(weighbridge, api, words, says):
    ran = weighbridge(*words)
    assert (ran.status, api.asked) == (2, [])
    assert says in ran.err
    assert "pattern" not in ran.err


@pytest.mark.parametrize(("start", "warned"), [("2026-01-01", True), ("2999-01-01", False), (None, False)])
def test_a_price_for_the_past_is_warned_of(weighbridge, api, start, warned):
    api.answers["POST /v1/price-books"] = {"id": "pb_1"}
    flags = [] if start is None else ["--effective-from", start]
    ran = weighbridge("price", "create", "2026", "--input-tokens", "1", *flags)
    assert ran.status == 0
    assert ("priced anew" in ran.err) == warned
