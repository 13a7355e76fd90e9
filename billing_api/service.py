"""Running the billing API as a process."""

import socket

import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from billing_api import migrate
from billing_api.app import create_app, services
from billing_api.settings import ApiSettings
from contracts import logs
from contracts.settings import SettingsError


def run(settings: ApiSettings) -> None:
    """Serve until SIGTERM or SIGINT; running requests are finished.

    Raises SettingsError when the address cannot be listened on, or the database is away or not migrated.
    """
    logs.configure(settings.log_level, "api")
    try:
        migrate.check(settings.database_url)
    except (SQLAlchemyError, OSError) as error:
        raise SettingsError(f"WEIGHBRIDGE_DATABASE_URL: the database does not answer: {error}") from error
    with _listen(settings) as listener:
        app = create_app(services(settings))
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=20, server_header=False
        )
        structlog.get_logger().info("listening", address=settings.api_listen)
        uvicorn.Server(config).run(sockets=[listener])


def _listen(settings: ApiSettings) -> socket.socket:
    host, port = settings.address
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SettingsError(
            f"WEIGHBRIDGE_API_LISTEN: cannot listen on {settings.api_listen} ({error.strerror or error}): "
            "choose another address with --listen"
        ) from error
    return listener
