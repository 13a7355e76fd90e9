"""An end for a process that does not end. A worker that hangs on its way out would hold its port, its spool and its memory.

Its parent kills a worker that takes too long, but a worker may outlive its parent. What it was waiting for is said, so that
the fault behind it can be found.
"""

import asyncio
import faulthandler
import os
import threading
from typing import Final

import structlog

STATUS: Final = 1
_log = structlog.get_logger(__name__)


def end_within(seconds: float, loop: asyncio.AbstractEventLoop) -> None:
    """Let this process end by itself, and end it after so many seconds. A thread watches: the event loop may be what hangs."""
    watching = threading.Timer(seconds, _end, (seconds, loop))
    watching.daemon = True
    watching.start()


def _end(seconds: float, loop: asyncio.AbstractEventLoop) -> None:
    waiting = [repr(task) for task in asyncio.all_tasks(loop)]
    _log.error("process did not end by itself", seconds=seconds, tasks=waiting)
    faulthandler.dump_traceback()
    os._exit(STATUS)
