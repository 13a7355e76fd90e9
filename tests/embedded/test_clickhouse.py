"""An unmodified clickhouse-connect client against the embedded ClickHouse."""

import asyncio
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedded.clickhouse import app
from tests.embedded.conftest import serving

MOMENT = datetime(2026, 11, 1, 12, 30, 0, 123456, tzinfo=UTC)


def test_every_type_that_our_tables_use_comes_back_as_it_went(client):
    client.command(
        "CREATE TABLE t (n UInt64, s String, l LowCardinality(String), m Nullable(String), d DateTime64(6, 'UTC'),"
        " u UUID, x Decimal(38, 12), a Array(Nullable(UInt64)), g Map(String, String), f Float64, b Bool,"
        " k Nested(p UInt8, q String)) ENGINE = MergeTree ORDER BY n"
    )
    rows = [
        [2**64 - 1, "größe\t\n'\\\0", "low", None, MOMENT, uuid.UUID(int=7), Decimal("-0.000000000001"), [1, None],
         {"a": "b'c"}, 0.1, True, [1, 2], ["x", ""]],
        [0, "", "", "there", MOMENT + timedelta(microseconds=1), uuid.UUID(int=0), Decimal("99999999999999.5"), [], {}, -1.5,
         False, [], []],
    ]  # fmt: skip
    summary = client.insert(
        "t", rows, column_names=["n", "s", "l", "m", "d", "u", "x", "a", "g", "f", "b", "k.p", "k.q"]
    )
    assert summary.written_rows == 2
    found = client.query("SELECT * FROM t ORDER BY n DESC")
    assert [list(row) for row in found.result_rows] == rows
    assert int(found.summary["read_rows"]) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0")), number=st.integers(-(2**63), 2**63 - 1))
def test_parameters_arrive_as_they_were(client, text, number):
    parameters = {"text": text, "number": number, "list": [text, "x"], "none": None}
    query = "SELECT {text:String}, {number:Int64}, {list:Array(String)}, {none:Nullable(String)}"
    assert client.query(query, parameters=parameters).result_rows == [(text, number, [text, "x"], None)]


def test_a_parameter_too_large_for_an_address_arrives(client):
    text = "word " * 100_000
    assert client.query("SELECT length({text:String})", parameters={"text": text}).result_rows == [(len(text),)]


def test_a_large_insert_in_several_compressed_blocks_arrives(client):
    client.command("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
    rows = [[number, f"text {number} " * 5] for number in range(200_000)]
    client.insert("t", rows, column_names=["n", "s"])
    assert client.query("SELECT count(), sum(n), uniqExact(s) FROM t").result_rows == [
        (200_000, sum(range(200_000)), 200_000)
    ]
    assert len(client.query("SELECT n, s FROM t").result_rows) == 200_000


def test_an_empty_result_names_its_columns(client):
    client.command("CREATE TABLE t (n UInt64, s Nullable(String)) ENGINE = MergeTree ORDER BY n")
    empty = client.query("SELECT n, s FROM t WHERE n = {n:UInt64}", parameters={"n": 1})
    assert empty.result_rows == []
    assert empty.column_names == ("n", "s")
    assert [kind.name for kind in empty.column_types] == ["UInt64", "Nullable(String)"]


@pytest.mark.parametrize(
    ("query", "code", "name"),
    [
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nothing", 60, "UNKNOWN_TABLE"),
        ("SELECT nothing", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_errors_carry_their_code(client, query, code, name):
    with pytest.raises(DatabaseError) as raised:
        client.query(query)
    assert (raised.value.code, raised.value.name) == (code, name)
    assert client.command("SELECT 1") == 1


def test_an_insert_of_the_wrong_shape_is_refused_and_leaves_nothing(client):
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    with pytest.raises(DatabaseError):
        client.raw_insert("t", ["n"], b"\x01\x02 no block", fmt="Native")
    assert client.command("SELECT count() FROM t") == 0
    with pytest.raises(DatabaseError) as raised:
        client.raw_insert("absent", ["n"], b"1\n", fmt="CSV")
    assert raised.value.code == 60


def test_settings_hold_for_one_query_and_unknown_ones_are_refused(client):
    asked = "SELECT value FROM system.settings WHERE name = 'max_threads'"
    assert client.query(asked, settings={"max_threads": 3}).result_rows == [("3",)]
    assert client.query(asked).result_rows != [("3",)]
    with pytest.raises(DatabaseError) as raised:
        client.query("SELECT 1", settings={"max_threads; DROP": 1})
    assert raised.value.code == 115


def test_a_reader_may_not_write(client):
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    with pytest.raises(DatabaseError) as raised:
        client.command("INSERT INTO t VALUES (1)", settings={"readonly": 2, "max_execution_time": 5})
    assert raised.value.code == 164


def test_final_sees_one_row_a_key(client):
    client.command("CREATE TABLE t (n UInt64, v UInt64) ENGINE = ReplacingMergeTree(v) ORDER BY n")
    for version in (1, 3, 2):
        client.insert("t", [[7, version]], column_names=["n", "v"])
    assert client.query("SELECT v FROM t FINAL").result_rows == [(3,)]
    assert client.query("SELECT v FROM t", settings={"final": 1}).result_rows == [(3,)]


async def test_many_clients_at_once_each_get_their_own_answer(clickhouse):
    host, port = clickhouse.address.split(":")
    client = await clickhouse_connect.get_async_client(
        host=host, port=int(port), compress="zstd", autogenerate_session_id=False
    )
    try:
        answers = await asyncio.gather(*(client.query(f"SELECT {number}") for number in range(50)))
        assert [answer.result_rows[0][0] for answer in answers] == list(range(50))
    finally:
        await client.close()


async def test_too_many_queries_are_refused_with_503(clickhouse):
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as http:
        slow = [http.post(f"http://{clickhouse.address}/", content="SELECT sleep(0.02)") for _ in range(2 * app.QUEUE)]
        answers = await asyncio.gather(*slow)
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["x-clickhouse-exception-code"] == "202"
    assert refused.headers["retry-after"] == "1"


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip"])
def test_compressed_both_ways(clickhouse, encoding):
    with clickhouse_connect.get_client(dsn=f"http://{clickhouse.address}", compress=encoding) as client:
        assert len(client.query("SELECT number FROM numbers(10000)").result_rows) == 10_000
        client.command("CREATE OR REPLACE TABLE c (n UInt64) ENGINE = MergeTree ORDER BY n")
        client.insert("c", [[number] for number in range(1000)], column_names=["n"])
        assert client.command("SELECT sum(n) FROM c") == 499_500


def test_plain_http_as_curl_and_grafana_use_it(clickhouse):
    url = f"http://{clickhouse.address}"
    assert httpx.get(f"{url}/ping").text == "Ok.\n"
    assert httpx.get(url).text == "Ok.\n"
    assert httpx.get(url, params={"query": "SELECT 1 AS n FORMAT JSON"}).json()["data"] == [{"n": 1}]
    assert httpx.post(url, content="SELECT 1 AS n", params={"default_format": "JSONEachRow"}).json() == {"n": 1}
    assert httpx.post(url, content="1\n2\n", params={"query": "SELECT 1"}).status_code == 400
    assert httpx.get(url, params={"query": "CREATE DATABASE never"}).headers["x-clickhouse-exception-code"] == "164"
    assert httpx.post(url, content=b"\xff\xfe").status_code == 400
    assert httpx.post(url, content="SELECT 1", params={"database": "never"}).status_code == 404


def test_it_survives_kill_9_and_goes_on_where_it_was(tmp_path):
    with serving("clickhouse", tmp_path, "--data-dir", str(tmp_path / "data")) as server:
        url = f"http://{server.address}"
        with clickhouse_connect.get_client(dsn=url) as client:
            client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS fsync_after_insert = 1")
            for number in range(20):
                client.insert("t", [[number]], column_names=["n"])
                if number == 10:
                    server.kill()
                    server.start()
            server.kill()
            server.start()
            assert client.query("SELECT count(), sum(n) FROM t").result_rows == [(20, 190)]


def test_a_folder_has_one_owner_and_a_port_too(tmp_path):
    with serving("clickhouse", tmp_path, "--data-dir", str(tmp_path / "data")) as server:
        for port, folder, says in (
            ("0", "data", "belongs to another process"),
            (server.address[10:], "other", "is taken"),
        ):
            command = [
                sys.executable,
                "-m",
                "embedded.clickhouse",
                "--port",
                port,
                "--data-dir",
                str(tmp_path / folder),
            ]
            second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert second.returncode == 2
            assert says in second.stderr
            assert second.stderr.count("\n") == 1
