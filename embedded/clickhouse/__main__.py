"""Run the embedded ClickHouse: `python -m embedded.clickhouse --port P --data-dir D`."""

import argparse
import os
import sys
from pathlib import Path

import uvicorn

from contracts import logs
from embedded.clickhouse.app import create_app
from embedded.clickhouse.engine import Engine, FolderInUseError
from embedded.ports import PortTakenError, listen


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns 2 when the port or the folder is somebody else's."""
    parser = argparse.ArgumentParser(prog="python -m embedded.clickhouse", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    flags = parser.parse_args()
    logs.configure("warning", "clickhouse")
    os.environ["TZ"] = "UTC"  # the engine's time zone is the machine's otherwise
    try:
        with listen(flags.port) as socket, Engine(flags.data_dir) as engine:
            config = uvicorn.Config(create_app(engine), log_config=None, access_log=False, timeout_graceful_shutdown=10)
            uvicorn.Server(config).run(sockets=[socket])
    except (PortTakenError, FolderInUseError) as error:
        print(f"clickhouse: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
