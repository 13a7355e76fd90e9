"""A child process that dies with us, in a process group of its own, with its output in a file of bounded size."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from embedded.parts import Part
from embedded.probe import answers

SAFE_PATH: Final = {"PYTHONSAFEPATH": "1"}
"""A folder named `proxy` or `sim` where somebody happens to stand must not be taken for ours."""
LOG_BYTES: Final = 8 * 1024 * 1024
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Child:
    """A started part. Ctrl-C in a terminal does not reach it: the supervisor ends its parts in order."""

    def __init__(self, part: Part, log: Path) -> None:
        self.part = part
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                part.command,
                env={**os.environ, **SAFE_PATH, **part.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # the supervisor has one thread
            )

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self._process.pid

    def family(self) -> list[int]:
        """Return its process id and those of its own children, such as a proxy's workers (these on Linux alone)."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return [self.pid]
        return [self.pid, *map(int, children.split())]

    def exit_status(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._process.poll()

    def ready(self) -> bool:
        """Tell whether it answers its probe; one without a probe is ready when it runs."""
        return self.part.probe is None or answers(self.part.probe)

    def terminate(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it left in its group, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def keep_small(log: Path) -> None:
    """Move a log that has grown too large aside, over the one moved before; its writer goes on at the start."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)


def last_line(log: Path) -> str:
    """Return the last thing a part said, for an error message."""
    lines = log.read_text(errors="replace")[-4096:].splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _die_with_parent() -> None:
    """Have the kernel kill this process when the supervisor is gone, be it by `kill -9`."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
