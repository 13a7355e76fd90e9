import json  # noqa: TID251  # the reference: how Python's clients write JSON

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.base import BadRequestError
from proxy.dialects.body import flag, number, put_together, take_apart, text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=8), VALUES
)


@given(OBJECTS, st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]), st.sampled_from([None, 2]))
def test_every_way_to_write_an_object(
    value: dict[str, object], separators: tuple[str, str], indent: int | None
) -> None:
    """Whatever the spacing, the members are the same, and each keeps its bytes."""
    body = json.dumps(value, separators=separators, indent=indent, ensure_ascii=False).encode()
    members = take_apart(body)
    assert {name: msgspec.json.decode(raw) for name, raw in members.items()} == json.loads(body)
    assert all(bytes(raw) in body for raw in members.values())
    assert json.loads(put_together(members)) == json.loads(body)


@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=2), st.integers(0, 9), min_size=1),
    st.data(),
    st.sampled_from(["", " ", "\n "]),
)
def test_a_name_twice_is_refused(value: dict[str, int], data: st.DataObject, space: str) -> None:
    pairs = [*value.items(), (data.draw(st.sampled_from(sorted(value))), data.draw(st.integers(0, 99)))]
    pairs = data.draw(st.permutations(pairs))
    body = "{" + f",{space}".join(f'"{name}":{space}{number}' for name, number in pairs) + "}"
    with pytest.raises(BadRequestError) as error:
        take_apart(body.encode())
    assert error.value.code == "invalid_json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"a":1}x',
        b'{"a":NaN}',
        b'{"a":01}',
        b"{a:1}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":"\xff"}',
        b'{"a\\u0062":1}',
        b'{"a":"\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError) as error:
        take_apart(body)
    assert error.value.code == "invalid_json"


def test_kinds_are_strict() -> None:
    """vLLM would take "true" or 1 for true; what we read another way we could not meter."""
    members = take_apart(b'{"s":"x","i":3,"f":true,"n":null}')
    assert (text(members, "s"), number(members, "i"), flag(members, "f")) == ("x", 3, True)
    assert (text(members, "n"), number(members, "n"), flag(members, "n"), flag(members, "absent")) == (None,) * 4
    for read, name in ((text, "i"), (number, "s"), (flag, "s"), (flag, "i"), (number, "f")):
        with pytest.raises(BadRequestError) as error:
            read(members, name)
        assert error.value.code == "invalid_request"
