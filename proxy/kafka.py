"""How aiokafka is told to reach Kafka."""

import logging
import ssl
from typing import Any

from proxy.plain import Plain


def connection(settings: Plain, client_id: str) -> dict[str, Any]:
    """Return the arguments that producers and consumers share. Raises OSError when a certificate cannot be read."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says at every attempt what we say once an outage
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": client_id,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_sasl_username
        arguments["sasl_plain_password"] = settings.kafka_sasl_password
    if settings.kafka_security_protocol.endswith("SSL"):
        arguments["ssl_context"] = _tls(settings)
    return arguments


def _tls(settings: Plain) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    if settings.kafka_ssl_certfile is not None:
        context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    return context
