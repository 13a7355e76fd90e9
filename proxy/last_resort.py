"""An end for tasks and processes that do not end. A worker that hangs on its way out holds its port, its spool and its memory.

Its parent kills a worker that takes too long, but a worker may outlive its parent. What it was waiting for is said, so that
the fault behind it can be found.
"""

import asyncio
import faulthandler
import os
import threading
from collections.abc import Iterable
from typing import Any, Final

import structlog

STATUS: Final = 1
AGAIN_AFTER: Final = 0.5
_log = structlog.get_logger(__name__)


async def end(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel tasks until they have ended. Once is not enough where a cancellation may get lost.

    Python 3.11's `asyncio.wait_for` loses one that comes just as what it waits for is done, and redis-py sends by it.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_AFTER)


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
