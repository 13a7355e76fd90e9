"""Running the billing API as a process."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

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
        _Server(config).run(sockets=[listener])


def _listen(settings: ApiSettings) -> socket.socket:
    host, port = settings.address
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(
            f"WEIGHBRIDGE_API_LISTEN: cannot listen on {settings.api_listen} ({error.strerror or error}): "
            "choose another address with --listen"
        ) from error


class _Server(uvicorn.Server):
    """Ends in order at a signal, and does not raise the signal again afterwards, as uvicorn does: `run` returns."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen for the signals while serving."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
