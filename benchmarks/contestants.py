"""What the proxy is measured beside, and the upstream that all of them pass requests on to."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil

from benchmarks.processes import HOST, Contestant, free_port, listens, started

Start = Callable[[Path, int], AbstractContextManager[Contestant]]
"""Starts a contestant: a folder of its own for what it writes, and the port of the upstream."""

NGINX = """\
daemon off; master_process on; worker_processes 1; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 32768; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000;
  upstream server {{ server {host}:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {host}:{port} backlog=4096;
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


@contextmanager
def upstream(folder: Path, chunks: int = 64, gap: float = 0.002, repeat: int = 1) -> Iterator[Contestant]:
    """The server behind all of them; its streams have `repeat` × `chunks` events, one every `gap` seconds."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.upstream", *map(str, (port, chunks, gap, repeat))]
    with started(command, folder / f"upstream-{port}.log", lambda: listens(port)):
        yield Contestant("no proxy", port, None)


@contextmanager
def nginx(folder: Path, target: int) -> Iterator[Contestant]:
    """Nginx with one worker, keep-alive on both sides, no log, and no buffering, so that events pass as they come."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, host=HOST, port=port, upstream=target))
    command = ["nginx", "-p", str(folder), "-c", str(config)]
    with started(command, folder / "nginx.log", lambda: listens(port)) as process:
        yield Contestant("nginx", port, psutil.Process(process.pid))


@contextmanager
def mitmdump(folder: Path, target: int) -> Iterator[Contestant]:
    """Mitmproxy as it comes, told to pass bodies on as they arrive and to print nothing."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("mitmdump")), "-q", "--mode", f"reverse:http://{HOST}:{target}"]
    command += ["--listen-host", HOST, "-p", str(port), "--set", "stream_large_bodies=1"]
    command += ["--set", f"confdir={folder / 'mitmproxy'}"]
    with started(command, folder / "mitmdump.log", lambda: listens(port)) as process:
        yield Contestant("mitmdump", port, psutil.Process(process.pid))
