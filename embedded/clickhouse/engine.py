"""One chDB engine over one data folder, and how a statement runs on it. Blocking: belongs in the worker thread.

Every statement gets a connection of its own (0.2 ms), so that its database and settings end with it.
"""

import fcntl
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from chdb.state.sqlitelike import Connection

from embedded.clickhouse.statement import Insert, returns_rows, split_insert, without_format

DEFAULT_DATABASE: Final = "default"
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_CODE: Final = re.compile(r"Code: (\d+)\.")


class FolderInUseError(Exception):
    """Another process owns the data folder."""


class QueryError(Exception):
    """ClickHouse refused or failed a statement; `code` is its number for the reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Statement:
    """What a request asks for: the text (an INSERT's data at its end), and all that came beside it."""

    text: bytes
    database: str | None = None
    default_format: str = "TabSeparated"
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A result: the encoded rows, their format (None: the statement gives no rows), and counts for the summary."""

    body: bytes
    format: str | None
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_ns: int = 0


class Engine:
    """The owner of a data folder. Raises FolderInUseError when another process has it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder / "owner.lock")
        self._path = str((folder / "store").resolve())
        self._held = Connection(self._path)  # keeps the engine open between statements
        self.version, self.time_zone = self._identity()

    def run(self, statement: Statement) -> Answer:
        """Run one statement to its end; raises QueryError."""
        connection = Connection(self._path)
        try:
            _prepare(connection, statement)
            insert = split_insert(statement.text)
            return _select(connection, statement) if insert is None else _insert(connection, insert)
        except RuntimeError as error:  # what chDB raises for anything that ClickHouse says
            raise self._failure(str(error)) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Write out what is in memory and let the folder go."""
        self._held.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _identity(self) -> tuple[str, str]:
        version, time_zone = self._held.query("SELECT version(), timezone()", "TSV").bytes().decode().split()
        return version, time_zone

    def _failure(self, text: str) -> QueryError:
        found = _CODE.search(text)
        if found is None:
            return QueryError(f"Code: 1002. DB::Exception: {text}", 1002)
        message = text[found.start() :].strip()
        if "(version " not in message:
            message += f" (version {self.version})"
        return QueryError(message, int(found[1]))


def _lock(path: Path) -> IO[str]:
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise FolderInUseError(
            f"{path.parent} belongs to another process; stop it or take another --data-dir"
        ) from None
    return file


def _prepare(connection: Connection, statement: Statement) -> None:
    if statement.database and statement.database != DEFAULT_DATABASE:
        name = statement.database.replace("\\", "\\\\").replace("`", "\\`")
        connection.query(f"USE `{name}`")
    # `readonly` comes last: after it, some of the others could not be set any more.
    for name, value in sorted(statement.settings.items(), key=lambda setting: setting[0] == "readonly"):
        if not _NAME.fullmatch(name):
            raise QueryError(f"Code: 115. DB::Exception: {name!r} is no name of a setting. (UNKNOWN_SETTING)", 115)
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        connection.query(f"SET {name} = '{quoted}'")


def _insert(connection: Connection, insert: Insert) -> Answer:
    with connection.send_insert(insert.head, insert.format) as stream:
        if insert.data:
            stream.append(insert.data)
        done = stream.finish()
    return Answer(
        b"",
        None,
        written_rows=done.rows_written,
        written_bytes=done.bytes_written,
        elapsed_ns=int(done.elapsed * 1e9),
    )


def _select(connection: Connection, statement: Statement) -> Answer:
    rest, named = without_format(statement.text)
    wanted = named or statement.default_format
    result = connection.query(_text(statement.text), wanted, params=statement.parameters)
    body = result.bytes()
    rows = returns_rows(statement.text)
    if rows and not body and wanted.lower() == "native":
        body = _empty_native(connection, rest, statement.parameters)
    return Answer(
        body,
        wanted if rows else None,
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=_count(result, "rows_written"),
        written_bytes=_count(result, "bytes_written"),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


def _text(query: bytes) -> str:
    try:
        return query.decode()
    except UnicodeDecodeError as error:
        raise QueryError(f"Code: 62. DB::Exception: The query is not UTF-8: {error}. (SYNTAX_ERROR)", 62) from error


def _count(result: Any, name: str) -> int:
    return int(getattr(result, name)())


def _empty_native(connection: Connection, query: bytes, parameters: dict[str, str]) -> bytes:
    """Return a block of no rows that names the columns: ClickHouse sends one, chDB sends nothing at all."""
    header: bytes = connection.query(_text(query), "RowBinaryWithNamesAndTypes", params=parameters).bytes()
    strings: list[bytes] = []
    count, at = _varint(header, 0)
    for _ in range(2 * count):
        length, start = _varint(header, at)
        strings.append(header[at : start + length])
        at = start + length
    columns = b"".join(name + kind for name, kind in zip(strings[:count], strings[count:], strict=True))
    return header[: _varint(header, 0)[1]] + b"\0" + columns


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read an unsigned LEB128 number; returns it and where the next byte stands."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
