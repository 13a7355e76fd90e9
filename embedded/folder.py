"""The data folder of `up`: who owns it, and what is remembered in it from one start to the next."""

import fcntl
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from embedded import ports

PRIVATE: Final = 0o600
T = TypeVar("T")


class FolderInUseError(Exception):
    """Another process owns the folder; the message says which and what to do."""


class FolderBrokenError(Exception):
    """A file of the folder cannot be read; the message names it."""


class Secrets(msgspec.Struct, frozen=True):
    """What must stay the same for as long as the data is kept."""

    api_token: str
    key_pepper: str


class Demo(msgspec.Struct, frozen=True):
    """The tenant that a first start creates, and its key."""

    tenant: str
    key: str


class DataFolder:
    """A folder that belongs to one running `up`. Raises FolderInUseError when it is another's."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 32).decode() or "unknown"
            os.close(self._lock)
            raise FolderInUseError(
                f"{path} is in use by `up` with process id {owner}; stop that one or give another --data-dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    @property
    def logs(self) -> Path:
        """Where each part's output goes."""
        return self.path / "logs"

    def secrets(self) -> Secrets:
        """Return the installation's secrets, made at the first start."""
        known = self._read("secrets.json", Secrets)
        if known is None:
            known = Secrets(api_token=f"wba_{secrets.token_urlsafe(32)}", key_pepper=secrets.token_urlsafe(32))
            self._write("secrets.json", known)
        return known

    def ports(self, names: Iterable[str]) -> dict[str, int]:
        """Return a port for each name: the one of last time while nobody else has taken it."""
        before = self._read("ports.json", dict[str, int]) or {}
        chosen = {
            name: before[name] if name in before and ports.is_free(before[name]) else ports.pick() for name in names
        }
        self._write("ports.json", before | chosen)
        return chosen

    def demo(self) -> Demo | None:
        """Return what the first start created, None before it has."""
        return self._read("demo.json", Demo)

    def remember_demo(self, demo: Demo) -> None:
        """Keep it for later starts."""
        self._write("demo.json", demo)

    def announce(self, endpoints: dict[str, Any]) -> None:
        """Write endpoints.json: whoever reads it finds the old or the new one, whole."""
        self._write("endpoints.json", endpoints)

    def withdraw(self) -> None:
        """Remove endpoints.json: nothing runs."""
        (self.path / "endpoints.json").unlink(missing_ok=True)

    def _read(self, name: str, kind: type[T]) -> T | None:
        file = self.path / name
        if not file.exists():
            return None
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise FolderBrokenError(
                f"{file} cannot be read ({error}); restore it or start with another folder"
            ) from error

    def _write(self, name: str, value: Any) -> None:
        draft = self.path / f".{name}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / name)
