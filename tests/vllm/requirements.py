"""Print what the wheel in a folder requires, without torch and its companions. Run by install.sh; standard library only."""

import re
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path


def requirements(wheel: Path) -> list[str]:
    """Return the requirements that stand in a wheel's metadata and belong to no extra."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    needed = metadata.get_all("Requires-Dist") or []
    return [line for line in needed if "extra ==" not in line and not re.match(r"torch(vision|audio|codec)?\b", line)]


if __name__ == "__main__":
    (found,) = Path(sys.argv[1]).glob("*.whl")
    print("\n".join(requirements(found)))
