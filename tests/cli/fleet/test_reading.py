"""What is wrong with a fleet file is said with its line and field, before anybody is asked."""

from decimal import Decimal

import pytest

from cli.errors import CommandError
from cli.fleet.reading import read


def flaw(tmp_path, text):
    (tmp_path / "fleet.yaml").write_text(text)
    with pytest.raises(CommandError) as raised:
        read(tmp_path / "fleet.yaml")
    assert raised.value.status == 2
    return str(raised.value).removeprefix(str(tmp_path / "fleet.yaml"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tenants: [", ", line 1: "),
        ("tenants:\n  - name: a\n   x: 1\n", ", line 3: "),
        ("tenants:\n  - name: a\n    name: b\n", ", line 3: name stands here twice"),
        ("tenants:\n  - colour: red\n    name: a\n", ", line 2: tenants[0].colour: there is no such field"),
        ("tenants:\n  - plan: x\n", ", line 2: tenants[0].name: Field required"),
        ("tenants: 5\n", ", line 1: tenants: "),
        ("5\n", ", line 1: fields with values belong here"),
        ("tenants:\n  - name: a\n    time_zone: Mars\n", ", line 3: tenants[0].time_zone: no time zone"),
        ("tenants:\n  - name: a\n    currency: euro\n", ", line 3: tenants[0].currency: 'euro' is no ISO 4217"),
        ("tenants:\n  - name: a\n    tags: {a b: c}\n", ", line 3: tenants[0].tags.a b"),
        ("tenants:\n  - name: a\n  - name: a\n", ", line 3: tenants[1]: this is there already"),
        (
            "tenants:\n  - name: a\n    users:\n    - {name: u, team: t}\n",
            ", line 4: tenants[0].users[0].team: the file has",
        ),
        ("plans:\n  - name: p\n    weight: 0\n", ", line 3: plans[0].weight: Input should be greater"),
        ("plans:\n  - name: p\n  - name: p\n", ", line 3: plans[1].name: this is there already"),
        (
            "plans:\n  - name: p\n    limits:\n      - {meter: requests, window: week, amount: 1}\n",
            ", line 4: plans[0].limits[0].window: Input should be 'second'",
        ),
        (
            "plans:\n  - name: p\n    limits:\n      - meter: requests\n        window: day\n        amount: 1.5\n",
            ", line 4: plans[0].limits[0]: amount: give a whole number",
        ),
        (
            "plans:\n- name: p\n  limits:\n  - {meter: concurrency, amount: 1}\n  - {meter: concurrency, amount: 2}\n",
            ", line 5: plans[0].limits[1]: this is there already",
        ),
        ("a: &a [*a]\n", "nested too deeply"),
        (
            "price_books:\n- name: b\n  currency: EUR\n  effective_from: soon\n  prices: [{meter: requests, price: 1}]\n",
            ", line 4: price_books[0].effective_from: a time is RFC 3339",
        ),
    ],
)
def test_the_line_and_the_field_are_named(tmp_path, text, says):
    assert says in flaw(tmp_path, text)


def test_several_flaws_are_said_at_once(tmp_path):
    text = "plans:\n" + "".join(f"  - name: p{number}\n    weight: 0\n" for number in range(7))
    said = flaw(tmp_path, text)
    assert "line 3: " in said
    assert "line 11: " in said
    assert said.endswith("and 2 more")


def test_numbers_are_what_was_written(tmp_path):
    (tmp_path / "fleet.yaml").write_text(
        "price_books:\n- name: 2026\n  currency: EUR\n  effective_from: 2026-11-01T00:00:00Z\n"
        "  prices: [{meter: requests, price: 0.10}]\n"
    )
    book = read(tmp_path / "fleet.yaml")[1].price_books[0]
    assert book.name == "2026"
    assert str(book.prices[0].price) == "0.10"
    assert book.prices[0].price == Decimal("0.1")


def test_an_empty_file_asks_for_nothing(tmp_path):
    (tmp_path / "fleet.yaml").write_text("# nothing yet\n")
    assert read(tmp_path / "fleet.yaml")[1].tenants == []
