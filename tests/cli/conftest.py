"""Commands run in this process, as `weighbridge` would run them, and a billing API of canned answers."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from cli.__main__ import main


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Read its output."""
        return msgspec.json.decode(self.out)


Weighbridge = Callable[..., Ran]


@pytest.fixture
def weighbridge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path) -> Weighbridge:
    """Run a command in an empty folder, without settings of the machine; no user ever sees a traceback."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("WEIGHBRIDGE_"):
            monkeypatch.delenv(name)

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["weighbridge", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        status = ended.value.code
        assert isinstance(status, int)
        assert "Traceback" not in out + err
        if status and err:
            assert err.count("\n") == 1, f"an error is one line: {err}"
            assert err.startswith("weighbridge: ")
        return Ran(status, out, err)

    return run


@dataclass
class CannedApi:
    """A billing API that answers as it is told, and what it was asked."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    """By `METHOD /path`: JSON to answer with 200; a list: one after the other; (status, JSON): that."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """Return status and JSON for a request."""
        found = self.answers[f"{method} {path.partition('?')[0]}"]
        if isinstance(found, list):
            found = found.pop(0)
        return found if isinstance(found, tuple) else (200, found)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, weighbridge: Weighbridge) -> Iterator[CannedApi]:
    """The API that commands find by their environment."""
    canned = CannedApi()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            canned.asked.append((self.command, self.path, msgspec.json.decode(body) if body else None))
            canned.tokens.add(self.headers["authorization"])
            status, value = canned.answer(self.command, self.path)
            payload = value if isinstance(value, bytes) else msgspec.json.encode(value)
            self.send_response(status)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    canned.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("WEIGHBRIDGE_API_URL", canned.url)
    monkeypatch.setenv("WEIGHBRIDGE_API_TOKEN", "token-of-the-test")
    yield canned
    server.shutdown()
    thread.join()
    server.server_close()
