"""TLS on both sides: the certificate that clients see, and what vLLM's is checked against. Files are PEM."""

import ssl
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

PROTOCOLS: Final = ["h2", "http/1.1"]
"""What is offered to clients (ALPN), the best first."""
HANDSHAKE_SECONDS: Final = 10.0


class ServerTls:
    """The certificate that clients see; `reload` exchanges it while serving.

    A new certificate gets a context of its own, into which each handshake is moved: to load it into the live one would
    leave the old one there, too, when the kind of key changes (RSA, then elliptic curves).
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load both. Raises OSError (ssl.SSLError is one) when they cannot be read or do not belong together."""
        self._files = certificate, key
        self._current = self.context = server_context(certificate, key)
        """`context`: what the listening socket is given."""
        self.context.sni_callback = self._choose

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = self._current

    def reload(self) -> None:
        """Read the files again; what cannot be used leaves the old certificate in place."""
        certificate, key = self._files
        try:
            self._current = server_context(certificate, key)
        except OSError as error:
            log.error("certificate not loaded: the old one stays", file=str(certificate), error=str(error))  # noqa: TRY400
        else:
            log.info("certificate loaded", file=str(certificate))


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for clients. Raises OSError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key, password=_no_password)
    context.set_alpn_protocols(PROTOCOLS)
    return context


def upstream_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return a context for vLLM: its certificate must be of `ca` (None: of the system's), ours is shown if it asks.

    Raises OSError when a file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    """Fail where OpenSSL would ask on the terminal."""
    raise ssl.SSLError("the key is encrypted: a service cannot type its password")
