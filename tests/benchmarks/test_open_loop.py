"""The load at a constant rate: a server that stalls must show in every request that was due meanwhile."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.findings import percentile
from benchmarks.load import LoadError
from benchmarks.open_loop import steady, whole

ANSWER = b"HTTP/1.1 200 OK\r\nx-a: b\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def server(answer: bytes, stall: float = 0.0):
    """Answers one request after the other on one connection; waits for `stall` seconds before it answers the first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                left = stall
                while data := connection.recv(1 << 16):
                    time.sleep(left)
                    left = 0.0
                    connection.sendall(answer * data.count(b"GO"))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_requests_that_were_due_during_a_stall_waited():
    with server(ANSWER, stall=0.5) as port:
        latencies = steady(port, b"GO", rate=100, seconds=1, connections=1)
    assert len(latencies) == 100
    assert sum(latency > 0.25 for latency in latencies) >= 25  # those of the first quarter of a second, at least
    assert latencies[0] >= 0.5


def test_requests_are_not_sent_before_their_time():
    begun = time.perf_counter()
    with server(ANSWER) as port:
        steady(port, b"GO", rate=50, seconds=0.4, connections=1)
    assert time.perf_counter() - begun >= 19 / 50


@pytest.mark.parametrize("answer", [ANSWER.replace(b"200", b"503"), ANSWER.replace(b"HTTP", b"GARB")])
def test_an_answer_that_is_none_ends_it(answer):
    with server(answer) as port, pytest.raises(LoadError):
        steady(port, b"GO", rate=100, seconds=0.1, connections=1)


def test_an_answer_is_whole_at_its_last_byte():
    assert whole(ANSWER)
    assert not any(whole(ANSWER[:end]) for end in range(len(ANSWER)))


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(values, share):
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_percentiles_of_a_hundred():
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999, 1.0)] == [50, 99, 100, 100]
