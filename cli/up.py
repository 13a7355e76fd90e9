"""`weighbridge up`: everything on one machine."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import Field, SecretStr

from cli.client import DATA_DIR, DATA_VARIABLE, Api
from cli.errors import CommandError
from cli.first_run import create_demo
from cli.greeting import greet
from cli.output import progress
from cli.reach import await_given
from cli.upstream import UpstreamSettings
from contracts import logs
from contracts.settings import ClickHouseSettings, DatabaseSettings, KafkaSettings, RedisSettings, load
from embedded import plan, ports
from embedded.folder import DataFolder, Demo, FolderBrokenError, FolderInUseError
from embedded.supervisor import WRONG_USE, PartFailedError, StoppedError, Supervisor

MAX_UPSTREAMS: Final = 64
MAX_WORKERS: Final = 64


class UpSettings(KafkaSettings, RedisSettings, ClickHouseSettings, DatabaseSettings, UpstreamSettings):
    """Servers that exist already, and secrets of one's own; what is not set is embedded or made up."""

    api_token: SecretStr | None = None
    key_pepper: SecretStr | None = None
    workers: int = Field(default=1, ge=1, le=MAX_WORKERS)

    def given(self) -> plan.Given:
        """Return the addresses that somebody set."""
        named = self.model_fields_set
        return plan.Given(
            kafka=self.kafka_bootstrap_servers if "kafka_bootstrap_servers" in named else None,
            redis=self.redis_url if "redis_url" in named else None,
            clickhouse=self.clickhouse_url if "clickhouse_url" in named else None,
            database=self.database_url if "database_url" in named else None,
        )


def up(
    *,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            envvar="WEIGHBRIDGE_UPSTREAM",
            show_envvar=False,
            help="A vLLM server; give it again for more. None: the simulator.",
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(envvar=DATA_VARIABLE, show_envvar=False, help="Where data, logs and endpoints.json go.")
    ] = DATA_DIR,
    proxy_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the first proxy; others follow.")] = 8080,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the billing API.")] = 8090,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_WORKERS, help="Processes of each proxy. (default: 1)", show_default=False),
    ] = None,
    exit_after_ready: Annotated[bool, typer.Option(help="Stop again as soon as all is ready.")] = False,
) -> None:
    """Run the whole system on this machine, in front of your vLLM servers or a simulated one.

    Servers named by WEIGHBRIDGE_KAFKA_BOOTSTRAP_SERVERS, _REDIS_URL, _CLICKHOUSE_URL or _DATABASE_URL are used instead of
    embedded ones. A vLLM that was started with --api-key: set WEIGHBRIDGE_UPSTREAM_API_KEY to that key.

    Example: weighbridge up --upstream http://127.0.0.1:8000
    """
    settings = load(UpSettings, workers=workers)
    logs.configure("warning", "up")
    upstreams = [url.rstrip("/") for url in upstream or []]
    proxy_ports = _proxy_ports(upstreams, proxy_port, api_port)
    try:
        with _opened(data_dir) as folder:
            choices = _choices(
                settings,
                folder,
                upstreams,
                proxy_ports=proxy_ports,
                api_port=api_port,
                workers=settings.workers,
            )
            _System(folder, choices, settings.upstream_api_key).run(once=exit_after_ready)
    except FolderBrokenError as error:
        raise CommandError(str(error), 2) from None


def _opened(data_dir: Path) -> DataFolder:
    try:
        return DataFolder(data_dir)
    except FolderInUseError as error:
        raise CommandError(str(error), 2) from None
    except OSError as error:
        raise CommandError(f"{data_dir} cannot be used ({error.strerror}); give another --data-dir", 2) from error


def _proxy_ports(upstreams: list[str], first: int, api: int) -> tuple[int, ...]:
    """Return a port for each proxy; raises CommandError when one is taken, and says by which flag to change it."""
    for url in upstreams:
        if not url.startswith(("http://", "https://")):
            raise CommandError(f"--upstream {url}: give it as http://HOST:PORT", 2)
    if len(set(upstreams)) != len(upstreams) or len(upstreams) > MAX_UPSTREAMS:
        raise CommandError(f"--upstream: each server once, at most {MAX_UPSTREAMS}", 2)
    chosen = tuple(range(first, first + max(1, len(upstreams))))
    if chosen[-1] > 65535:
        raise CommandError(f"--proxy-port {first}: there are not enough ports above it", 2)
    if api in chosen:
        raise CommandError(f"port {api} is both a proxy's and the API's; change it with --api-port or --proxy-port", 2)
    for port, flag in [*((port, "--proxy-port") for port in chosen), (api, "--api-port")]:
        if not ports.is_free(port):
            raise CommandError(f"port {port} is taken by another process; choose another with {flag}", 2)
    return chosen


def _choices(
    settings: UpSettings,
    folder: DataFolder,
    upstreams: list[str],
    *,
    proxy_ports: tuple[int, ...],
    api_port: int,
    workers: int,
) -> plan.Choices:
    secrets = folder.secrets()
    token, pepper = settings.api_token, settings.key_pepper
    return plan.Choices(
        data=folder.path,
        upstreams=tuple(upstreams),
        proxy_ports=proxy_ports,
        api_port=api_port,
        ports=folder.ports(plan.port_names(len(proxy_ports))),
        api_token=token.get_secret_value() if token else secrets.api_token,
        key_pepper=pepper.get_secret_value() if pepper else secrets.key_pepper,
        workers=workers,
        given=settings.given(),
    )


def _say_who_is_left(parts: list[str]) -> None:
    sys.stderr.write(f"weighbridge: waiting for {', '.join(parts)} to end\n")


class _System:
    """One run of `up`, from the first part started to the last one ended."""

    def __init__(self, folder: DataFolder, choices: plan.Choices, upstream_key: SecretStr | None) -> None:
        self._folder, self._choices, self._upstream_key = folder, choices, upstream_key
        self._supervisor = Supervisor(folder.logs, self._announce)
        self._demo: Demo | None = None

    def run(self, *, once: bool) -> None:
        """Start all, say so, keep it running until a signal asks for the end, end all."""
        self._folder.withdraw()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: self._supervisor.request_stop())
        try:
            self._start()
            self._announce()
            assert self._demo is not None
            greet(self._choices, self._demo, self._upstream_key)
            if not once:
                self._supervisor.watch()
                sys.stderr.write("weighbridge: stopping; running requests may end first\n")
        except PartFailedError as error:
            raise CommandError(str(error), 2 if error.status == WRONG_USE else 1) from None
        except StoppedError:
            pass
        finally:
            self._folder.withdraw()
            self._supervisor.stop(_say_who_is_left)

    def _start(self) -> None:
        await_given(self._choices.given)
        levels = [plan.servers(self._choices), plan.services(self._choices), plan.proxies(self._choices)]
        with progress("Starting", sum(map(len, levels))) as done:
            self._supervisor.start(levels[0])
            self._supervisor.run_once(plan.migration(self._choices))
            done(len(levels[0]))
            self._supervisor.start(levels[1])
            done(len(levels[0]) + len(levels[1]))
            self._find_demo()
            self._supervisor.start(levels[2])

    def _find_demo(self) -> None:
        self._demo = self._folder.demo()
        if self._demo is None:
            api = Api(f"http://{ports.LOOPBACK}:{self._choices.api_port}", self._choices.api_token)
            self._demo = create_demo(api)
            api.close()
            self._folder.remember_demo(self._demo)

    def _announce(self) -> None:
        assert self._demo is not None
        self._folder.announce(plan.endpoints(self._choices, self._demo.key, self._supervisor.pids()))
