"""Transparent mode: iptables sends us connections that were going to vLLM, and the kernel knows to which one."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

import structlog

from proxy.lane.lane import Lane

log = structlog.get_logger(__name__)

Destination = tuple[str, int]
_ORIGINAL: Final = 80  # SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST


def original(sock: socket.socket) -> Destination | None:
    """Return where a connection was going to before it was redirected; None when it was not."""
    local = sock.getsockname()[:2]
    try:
        if sock.family == socket.AF_INET:
            port, packed = struct.unpack("!2xH4s8x", sock.getsockopt(socket.SOL_IP, _ORIGINAL, 16))
        else:
            port, packed = struct.unpack("!2xH4x16s4x", sock.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL, 28))
    except OSError:  # the kernel redirects nothing
        return None
    found = plain(ip_address(packed).compressed), port
    return found if found != (plain(local[0]), local[1]) else None


def plain(host: str) -> str:
    """Return an address as we write it: IPv4 where it is IPv4 in IPv6's clothes. Raises ValueError."""
    address = ip_address(host)
    mapped = address.ipv4_mapped if address.version == 6 else None
    return (mapped or address).compressed


class Meant:
    """Whose connection one is, among the upstreams that the operator lists: no other destination is served.

    A proxy that connected to any address would be used to reach any, and would send vLLM's own key to whoever asked.
    """

    def __init__(self, lanes: Mapping[Destination, Lane]) -> None:
        """`lanes`: by the upstream's address."""
        self._lanes = lanes

    def __call__(self, transport: asyncio.Transport) -> Lane | None:
        """Return the lane of a connection."""
        destination = original(transport.get_extra_info("socket"))
        peer = transport.get_extra_info("peername")[:2]
        if destination is None:
            log.warning("connection refused: it was not redirected to this port", client_address=peer[0])
            return None
        lane = self._lanes.get(destination)
        if lane is None:
            log.warning("connection refused: not an upstream", destination="{}:{}".format(*destination))
        elif lane.pool.owns(peer):
            log.error("connection refused: it is our own, iptables must leave it alone", destination=destination[0])
            return None
        return lane
