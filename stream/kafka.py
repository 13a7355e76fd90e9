"""How the stream reaches Kafka: credentials for aiokafka and for Faust, and the topics that it needs."""

import ssl
from typing import Any, Final

import faust
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import IncompatibleBrokerVersion, TopicAlreadyExistsError, for_code
from faust.types.auth import CredentialsT

from contracts import topics
from contracts.settings import KafkaSettings
from stream.settings import StreamSettings

log = structlog.get_logger()
_TOPIC_EXISTS: Final = TopicAlreadyExistsError.errno


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return what every aiokafka client is made with."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = _password(settings)
    return options


def credentials(settings: KafkaSettings) -> CredentialsT | None:
    """Return Faust's form of the same."""
    if settings.kafka_security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=settings.kafka_sasl_mechanism,
            username=settings.kafka_sasl_username,
            password=_password(settings),
            ssl_context=_tls(settings) if settings.kafka_security_protocol == "SASL_SSL" else None,
        )
    return faust.SSLCredentials(context=_tls(settings)) if settings.kafka_security_protocol == "SSL" else None


async def create_topics(settings: StreamSettings) -> list[str]:
    """Create the topics that are missing; return their names, none where the broker cannot create topics.

    Raises KafkaError and OSError when the broker does not answer or refuses.
    """
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=10_000)
    await admin.start()
    try:
        missing = sorted(set(topics.DATA) - set(await admin.list_topics()))
        wanted = [
            NewTopic(topic, settings.stream_topic_partitions, settings.stream_topic_replicas) for topic in missing
        ]
        if not wanted:
            return []
        answer = await admin.create_topics(wanted)
    except (IncompatibleBrokerVersion, NotImplementedError) as error:
        log.info("this broker creates topics by itself", error=str(error))
        return []
    finally:
        await admin.close()
    for topic, code, *reason in answer.topic_errors:
        if code not in (0, _TOPIC_EXISTS):
            raise for_code(code)(f"{topic}: {reason[0] if reason else ''}")
    return missing


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    if settings.kafka_ssl_certfile is not None:
        context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    return context


def _password(settings: KafkaSettings) -> str | None:
    return settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password is not None else None
