"""TCP ports on the loopback address."""

import errno
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 1024


class PortTakenError(Exception):
    """Another process listens there; the message names the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is taken by another process")
        self.port = port


def listen(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1; port 0 takes any that is free. Raises PortTakenError."""
    opened = socket.socket()
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((LOOPBACK, port))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(port) from None
        raise
    return opened


def is_free(port: int) -> bool:
    """Tell whether nothing listens on the port at this moment."""
    try:
        listen(port).close()
    except PortTakenError:
        return False
    return True


def pick() -> int:
    """Return a port that was free a moment ago."""
    with listen(0) as opened:
        return int(opened.getsockname()[1])
