"""The embedded Kafka: librdkafka's in-process cluster on a port that we choose.

`python -m embedded.kafka --port P`. It speaks Kafka's protocol over TCP (idempotent producers, consumer groups), but lives in
memory, keeps only the last 5 MB of each partition, and knows no CreateTopics; all our topics are there from the start, others
appear with four partitions when they are first asked for. A consumer group may have one member: when a second joins, one of
them can be refused (its SyncGroup, if it comes after the leader's). A member that replaces another waits for up to twice the
group's session timeout.

The cluster listens on a random port and nothing in its interface changes that. So its listening socket is replaced by one of
ours, under the same descriptor, and the address that it advertises is set to match.
"""

import argparse
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import structlog
from confluent_kafka import cimpl

from contracts import logs, topics
from embedded.ports import LOOPBACK, PortTakenError, listen

BROKER: Final = 1
PARTITIONS: Final = 4
REBALANCE_DELAY_MS: Final = 100
_PRODUCER: Final = 0  # rd_kafka_type_t

log = structlog.get_logger()


class BrokerError(Exception):
    """librdkafka could not start its cluster."""


class Broker:
    """A running cluster of one broker on `port`, which stays the caller's to close."""

    def __init__(self, port: int) -> None:
        ours = listen(port)
        self.port = int(ours.getsockname()[1])
        self._library = _library()
        reason = ctypes.create_string_buffer(512)
        self._handle = self._library.rd_kafka_new(_PRODUCER, None, reason, len(reason))
        if not self._handle:
            raise BrokerError(reason.value.decode())
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            raise BrokerError("librdkafka gave no cluster")
        os.dup2(ours.fileno(), _listener(self._bootstrap_port()))
        ours.close()
        self._library.rd_kafka_mock_broker_set_host_port(self._cluster, BROKER, LOOPBACK.encode(), self.port)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, REBALANCE_DELAY_MS)
        for topic in topics.DATA:
            self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), PARTITIONS, 1)

    def close(self) -> None:
        """Stop it; all it held is gone."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)

    def _bootstrap_port(self) -> int:
        addresses = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return int(addresses.rpartition(":")[2])


def _library() -> Any:
    """Return librdkafka's functions: the client's extension module is linked to them."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_broker_set_host_port": (None, [pointer, ctypes.c_int32, text, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _listener(port: int) -> int:
    """Return the descriptor of this process that listens on the port."""
    for entry in Path("/dev/fd").iterdir():
        descriptor = int(entry.name)
        try:
            with socket.socket(fileno=os.dup(descriptor)) as candidate:
                if candidate.getsockname()[:2] == (LOOPBACK, port):
                    return descriptor
        except OSError:
            continue  # no socket, or the directory listing's own descriptor
    raise BrokerError(f"librdkafka's socket on port {port} was not found")


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns 2 when the port is somebody else's."""
    parser = argparse.ArgumentParser(prog="python -m embedded.kafka", description="The embedded Kafka.")
    parser.add_argument("--port", type=int, required=True)
    flags = parser.parse_args()
    logs.configure("info", "kafka")
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    try:
        broker = Broker(flags.port)
    except (PortTakenError, BrokerError) as error:
        print(f"kafka: {error}", file=sys.stderr)  # noqa: T201
        return 2
    log.info("listening", address=f"{LOOPBACK}:{broker.port}")
    signal.sigwait(stop)
    broker.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
