"""A Grafana that remembers: as much of its HTTP API as a deployment uses, with Grafana's own answers to what goes wrong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

PLUGIN = "grafana-clickhouse-datasource"


class FakeGrafana(ThreadingHTTPServer):
    """`calls` are the writes it took, as method and path; the rest is what it holds and how it behaves."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.prefix = prefix
        self.token, self.role = "glsa_right", "Admin"
        self.plugins = [PLUGIN, "prometheus"]
        self.calls: list[tuple[str, str]] = []
        self.folders: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.boards: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        """Answer one call."""
        if path == "/health":
            return 200, {"commit": "c", "database": "ok", "version": "12.4.0"}
        if token != f"Bearer {self.token}":
            return 401, {"message": "Invalid API key"}
        if method != "GET":
            self.calls.append((method, path))
            if self.role != "Admin":
                return 403, {"message": "You'll need additional permissions to perform this action."}
        area, _, rest = path.strip("/").partition("/")
        known = {
            "plugins": self._plugins,
            "folders": self._folders,
            "datasources": self._sources,
            "dashboards": self._boards,
        }
        return known[area](method, rest, body) if area in known else (404, {"message": "Not found"})

    def _plugins(self, _method: str, _rest: str, _body: Any) -> tuple[int, Any]:
        return 200, [{"id": name} for name in self.plugins]

    def _folders(self, method: str, rest: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            self.folders[body["uid"]] = body
        uid = rest or body["uid"]
        return (200, self.folders[uid]) if uid in self.folders else (404, {"message": "folder not found"})

    def _sources(self, method: str, rest: str, body: Any) -> tuple[int, Any]:
        uid = rest.removeprefix("uid/") or body["uid"]
        if method != "GET":
            secret = body.pop("secureJsonData", {})
            shown = {"id": 1, "version": 2, "readOnly": False, "secureJsonFields": dict.fromkeys(secret, True)}
            self.sources[uid] = {**shown, **body, "secret": secret}
        if uid not in self.sources:
            return 404, {"message": "Data source not found"}
        return 200, {name: value for name, value in self.sources[uid].items() if name != "secret"}

    def _boards(self, method: str, rest: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            board = body["dashboard"]
            version = self.boards.get(board["uid"], {"dashboard": {"version": 0}})["dashboard"]["version"] + 1
            meta = {"folderUid": body["folderUid"], "provisioned": False}
            self.boards[board["uid"]] = {"dashboard": {**board, "id": 7, "version": version}, "meta": meta}
            return 200, {"uid": board["uid"], "version": version, "status": "success"}
        uid = rest.removeprefix("uid/")
        return (200, self.boards[uid]) if uid in self.boards else (404, {"message": "Dashboard not found"})


class _Handler(BaseHTTPRequestHandler):
    server: FakeGrafana

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        if path.startswith(f"{self.server.prefix}/api/"):
            token = self.headers.get("authorization", "")
            data = msgspec.json.decode(body) if body else None
            status, answer = self.server.answer(
                self.command, path.removeprefix(f"{self.server.prefix}/api"), token, data
            )
            self._send(status, "application/json", msgspec.json.encode(answer))
        else:
            self._send(200, "text/html", b"<html>not this address</html>")

    do_GET = do_POST = do_PUT = _serve  # noqa: N815  # names of the standard library

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def fake_grafana(prefix: str = "") -> Iterator[FakeGrafana]:
    """Run one on a free port."""
    server = FakeGrafana(prefix)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
