"""Statements are read as ClickHouse reads them, whatever stands in their names, strings and data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.clickhouse.statement import Insert, first_word, returns_rows, split_insert, without_format


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"INSERT INTO t FORMAT Native\n\x00\x01", Insert("INSERT INTO t ", "Native", b"\x00\x01")),
        (b"insert into t (`a`, b) format CSV\n1,2\n", Insert("insert into t (`a`, b) ", "CSV", b"1,2\n")),
        (b"INSERT INTO t (a) FORMAT TSV 1\n", Insert("INSERT INTO t (a) ", "TSV", b"1\n")),
        (b"INSERT INTO `format` FORMAT Native\r\nx", Insert("INSERT INTO `format` ", "Native", b"x")),
        (b"INSERT INTO t (format, `values`) FORMAT CSV\n1", Insert("INSERT INTO t (format, `values`) ", "CSV", b"1")),
        (b"-- why\nINSERT INTO t FORMAT CSV\n", Insert("-- why\nINSERT INTO t ", "CSV", b"")),
        (
            b"INSERT INTO t SETTINGS a = 'FORMAT x' FORMAT CSV\n1",
            Insert("INSERT INTO t SETTINGS a = 'FORMAT x' ", "CSV", b"1"),
        ),
        (b"INSERT INTO t FORMAT CSV\n\n1", Insert("INSERT INTO t ", "CSV", b"\n1")),
    ],
)
def test_an_insert_is_taken_apart_from_its_data(text, expected):
    assert split_insert(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"SELECT 1 FORMAT Native",
        b"INSERT INTO t VALUES (1, 'FORMAT Native')",
        b"INSERT INTO t (a) VALUES (1)",
        b"INSERT INTO t SELECT 1 FORMAT Native",
        b"INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
        b"INSERT INTO t FROM INFILE 'f' FORMAT CSV",
        b"INSERT INTO t",
        b"INSERT INTO t FORMAT",
        b"ALTER TABLE t DELETE WHERE a = 'INSERT INTO t FORMAT CSV'",
    ],
)
def test_other_statements_carry_no_data(text):
    assert split_insert(text) is None


@given(data=st.binary(max_size=200), column=st.text(st.characters(exclude_characters="`\\", codec="utf-8"), min_size=1))
def test_no_name_and_no_data_confuses_the_cut(data, column):
    head = f"INSERT INTO db.t (`{column}`, '{column.replace(chr(39), '')}') "
    assert split_insert(f"{head}FORMAT Native\n".encode() + data) == Insert(head, "Native", data)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(text):
    split_insert(text)
    returns_rows(text)
    rest, name = without_format(text)
    assert text.startswith(rest)
    assert (name is None) == (rest == text)


@pytest.mark.parametrize(
    ("text", "word", "rows"),
    [
        (b" select 1", "SELECT", True),
        (b"/* a */ -- b\n WITH 1 AS x SELECT x", "WITH", True),
        (b"(SELECT 1) UNION ALL (SELECT 2)", "SELECT", True),
        (b"SHOW TABLES", "SHOW", True),
        (b"CREATE TABLE t (a Int8) ENGINE = Memory", "CREATE", False),
        (b"ALTER TABLE t ADD COLUMN b Int8", "ALTER", False),
        (b"", "", False),
    ],
)
def test_the_kind_of_a_statement(text, word, rows):
    assert first_word(text) == word
    assert returns_rows(text) is rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT 1 FORMAT Native", (b"SELECT 1 ", "Native")),
        (b"SELECT 1\n FORMAT JSON ;\n", (b"SELECT 1\n ", "JSON")),
        (b"SELECT 'x FORMAT y'", (b"SELECT 'x FORMAT y'", None)),
        (b"SELECT 'gr\xc3\xb6\xc3\x9fe' FORMAT CSV", (b"SELECT 'gr\xc3\xb6\xc3\x9fe' ", "CSV")),
    ],
)
def test_a_format_clause_is_taken_off(text, expected):
    assert without_format(text) == expected
