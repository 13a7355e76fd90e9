"""Asks a part whether it is ready."""

import socket
from typing import Final

from embedded.parts import Probe
from embedded.ports import LOOPBACK

TIMEOUT_SECONDS: Final = 1.0


def answers(probe: Probe) -> bool:
    """Tell whether the probe's port answers as it should; never raises for a network's reasons."""
    try:
        with socket.create_connection((LOOPBACK, probe.port), TIMEOUT_SECONDS) as connection:
            if not probe.say:
                return True
            connection.sendall(probe.say)
            return probe.hear in connection.recv(4096)
    except OSError:
        return False
