"""`weighbridge proxy`: turns the process that read the settings into the parent of the workers.

The command line and its settings take 40 MB that a parent does not need, so the process starts over as `proxy.parent`:
under the same process id, with the settings in a file in memory, where no other user of the machine can read them.
"""

import os
import sys

from proxy import status
from proxy.settings import ProxySettings


def run(settings: ProxySettings) -> None:
    """Serve until SIGTERM or SIGINT. Does not return; see `proxy.parent` for the exit status."""
    descriptor = os.memfd_create("weighbridge-settings", 0)  # without MFD_CLOEXEC: the next program reads it
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(status.encode(settings.plain()))
    os.lseek(descriptor, 0, os.SEEK_SET)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "proxy.parent", str(descriptor)])  # noqa: S606  # our own program
