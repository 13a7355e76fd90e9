"""Certificates for tests, made as they are needed."""

import ssl
from pathlib import Path

import trustme


def write(authority: trustme.CA, folder: Path, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> tuple[Path, Path]:
    """Write a certificate for this machine into a folder; return its file and its key's."""
    made = authority.issue_cert("localhost", "127.0.0.1", key_type=key_type)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return certificate, key


def trusting(*authorities: trustme.CA, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Return how a client speaks that trusts these."""
    context = ssl.create_default_context()
    for authority in authorities:
        authority.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
