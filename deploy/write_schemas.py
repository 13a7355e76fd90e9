"""Write the events' schemas: `python deploy/write_schemas.py [FOLDER]`, by default into `docs/`. A test says when to."""

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from contracts import schemas, topics  # noqa: E402  # a script in a folder of its own


def files(version: str) -> Iterator[tuple[str, str]]:
    """Yield each file's path below the folder, and its text."""
    for topic in topics.DATA:
        yield f"schemas/{topic}.json", _text(schemas.data(topic))
    yield f"schemas/{schemas.ENVELOPE}.json", _text(schemas.envelope())
    yield "asyncapi.json", _text(schemas.asyncapi(version))


def _text(value: schemas.Schema) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def project_version() -> str:
    """Return the version that `pyproject.toml` states."""
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    return str(project["version"])


def main() -> int:
    """Write all files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    (folder / "schemas").mkdir(parents=True, exist_ok=True)
    for name, text in files(project_version()):
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
