from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.projection import KeyRecord
from proxy.admission import check, tags, token
from tests.proxy.fakes import KEY_RECORD

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def code(address: str | None = "192.0.2.7", **changes: Any) -> str | None:
    key: KeyRecord = msgspec.structs.replace(KEY_RECORD, **changes)
    refusal = check(key, "/v1/completions", "tiny", address, NOW)
    return refusal.code if refusal is not None else None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"status": "revoked"}, "invalid_api_key"),
        ({"expires_at": NOW}, "expired_api_key"),
        ({"expires_at": NOW + timedelta(microseconds=1)}, None),
        ({"endpoints": ("/v1/chat/completions",)}, "endpoint_not_allowed"),
        ({"endpoints": ("/v1/completions",)}, None),
        ({"models": ()}, "model_not_allowed"),
        ({"models": ("big",)}, "model_not_allowed"),
        ({"models": ("big", "tiny")}, None),
        ({"addresses": ("10.0.0.0/8",)}, "address_not_allowed"),
        ({"addresses": ("10.0.0.0/8", "192.0.2.7")}, None),
        ({"addresses": ("2001:db8::/32",)}, "address_not_allowed"),
    ],
)
def test_checks(changes: dict[str, Any], expected: str | None) -> None:
    assert code(**changes) == expected


def test_order_of_checks() -> None:
    wrong: dict[str, Any] = {
        "status": "revoked",
        "expires_at": NOW,
        "addresses": ("10.0.0.0/8",),
        "endpoints": (),
        "models": (),
    }
    codes = []
    for field in list(wrong):
        codes.append(code(**wrong))
        del wrong[field]
    assert codes == [
        "invalid_api_key",
        "expired_api_key",
        "address_not_allowed",
        "endpoint_not_allowed",
        "model_not_allowed",
    ]


def test_addresses_of_dual_stack_sockets() -> None:
    assert code(address="::ffff:192.0.2.7", addresses=("192.0.2.0/24",)) is None
    assert code(address="2001:db8::1", addresses=("2001:db8::/32",)) is None
    assert code(address=None, addresses=("0.0.0.0/0",)) == "address_not_allowed"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({b"authorization": b"Bearer abc"}, b"abc"),
        ({b"authorization": b"bearer  abc "}, b"abc"),
        ({b"authorization": b"Bearer "}, None),
        ({b"authorization": b"Basic abc"}, None),
        ({b"x-api-key": b"abc"}, b"abc"),
        ({b"x-api-key": b""}, None),
        ({b"authorization": b"Bearer a", b"x-api-key": b"b"}, b"a"),
        ({b"authorization": b"Basic a", b"x-api-key": b"b"}, b"b"),
    ],
)
def test_tokens(fields: dict[bytes, bytes], expected: bytes | None) -> None:
    assert token(fields) == expected


def test_assigned_tags_win() -> None:
    assert tags(b"project=mine, env = prod,bad,=x", {"project": "search"}) == {"project": "search", "env": "prod"}
    assert tags(None, {"a": "b"}) == {"a": "b"}


@given(st.binary(max_size=400), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=16))
def test_tags_are_bounded(header: bytes, assigned: dict[str, str]) -> None:
    merged = tags(header, assigned)
    assert len(merged) <= 16
    assert merged.items() >= assigned.items()


def test_no_more_than_sixteen() -> None:
    header = b",".join(b"t%d=x" % n for n in range(40))
    assert list(tags(header, {"own": "1"})) == ["own", *(f"t{n}" for n in range(15))]
