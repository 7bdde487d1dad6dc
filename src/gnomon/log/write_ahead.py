"""The write-ahead of one front: an SQLite file to which one process appends and any may read.

    write_ahead  one row: the file's uuid (with a sequence number it names a segment for ever), the
                 format, and the life: how many writers have opened the file so far. What a former
                 life left open can never be completed.
    routes       descriptions of routes, each once
    segments     `seq` never restarts, even when the table has been emptied, and is the order: the
                 clock is not. `base` is the number of the first request of the segment's group;
                 requests are numbered from 0 in each life. (life, base + number in the group) is
                 the place of a request in the file.

A commit is one transaction, on the disk when it returns (WAL, synchronous=FULL: SQLite flushes the
log of the file with each commit, so that it outlives a loss of power too, as far as the disk keeps
its word). Checksums cover the blobs and every column from which a reader draws a conclusion, since
SQLite has none of its own.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gnomon.core import limits
from gnomon.core.routing import Route
from gnomon.log.layouts import Kind
from gnomon.log.segments import Segment

FORMAT = 1
PATTERN = "front-*.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS write_ahead (
    uuid TEXT NOT NULL,
    format INTEGER NOT NULL,
    life INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS routes (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE, -- SHA-256 of json
    json TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    pipeline_id INTEGER NOT NULL,
    route INTEGER NOT NULL REFERENCES routes (id),
    model INTEGER NOT NULL,
    life INTEGER NOT NULL,
    base INTEGER NOT NULL,
    first_of INTEGER,
    last_of INTEGER,
    entries INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    first_time_us INTEGER NOT NULL,
    last_time_us INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body_checksum INTEGER NOT NULL,
    head BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS segments_by_pipeline
    ON segments (pipeline_id, kind, life, base, first_of, last_of);
"""

# Columns of a segment that its checksum covers, with the head after them.
COVERED = (
    "kind", "pipeline_id", "route", "model", "life", "base", "first_of", "last_of", "entries",
    "rows", "first_time_us", "last_time_us", "body_checksum",
)  # fmt: skip
_COVERED = struct.Struct(f"<{len(COVERED)}q")
_INSERT = (
    f"INSERT INTO segments ({', '.join(COVERED)}, checksum, head, body) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(COVERED))}, ?, ?, ?)"
)
LIVES_MAX = 2**22  # what a packed place has room for
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TOLD_BY = (sqlite3.DatabaseError, UnicodeDecodeError)  # the latter: SQLite's own text is damaged


class Replaced(OSError):
    """The file under this name is not the one that was opened: it was moved or deleted."""


class Full(OSError):
    """The file holds as much as it may; it will be written again when something has moved."""


def checksum(covered: Sequence[int | None], route_digest: str, head: bytes) -> int:
    """Return the checksum of a segment's covered columns, of its route and of its head."""
    start = zlib.crc32(_COVERED.pack(*(-1 if value is None else value for value in covered)))
    return zlib.crc32(head, zlib.crc32(route_digest.encode(), start))


def digest(route_json: bytes) -> str:
    """Return the key under which a route's description is stored; checksums cover it."""
    return hashlib.sha256(route_json).hexdigest()


@dataclass(frozen=True, slots=True)
class _StoredRoute:
    route: Route  # kept alive, because it is known by its identity
    id: int
    digest: str


class WriteAhead:
    """The writer's side. Belongs to the thread that opened it.

    Args:
        path: Made if it is missing, with its directory. A file that is damaged or has another
            format is set aside under another name, where readers still find what can be read.
        before: `uuid` and `life` of the write-ahead that this writer had open before an error;
            the life goes on if it is the same file.

    Attributes:
        uuid: Of the file.
        life: Of this writer.

    Raises:
        sqlite3.Error, OSError: It cannot be opened now.
    """

    def __init__(self, path: Path, before: tuple[str, int] | None = None) -> None:
        self._path = path
        self._routes: dict[int, _StoredRoute] = {}  # by identity
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._open(before)
        except _TOLD_BY as error:
            if not is_damage(error):
                raise
            set_aside(path)
            self._open(before)

    def _open(self, before: tuple[str, int] | None) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._inode = os.fstat(file).st_ino
        os.close(file)
        self._connection = sqlite3.connect(
            self._path, timeout=limits.LOG_BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            execute = self._connection.execute
            # Blobs of megabytes in pages of 4 KiB take half as long again to write.
            execute(f"PRAGMA page_size={limits.LOG_PAGE_BYTES}")
            execute("PRAGMA journal_mode=WAL")
            execute("PRAGMA synchronous=FULL")
            execute(f"PRAGMA journal_size_limit={limits.LOG_WAL_BYTES_KEPT}")
            checkpoint_pages = limits.LOG_CHECKPOINT_BYTES // limits.LOG_PAGE_BYTES
            execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")
            execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";")[:-1]:
                execute(statement)
            row = execute("SELECT uuid, format, life FROM write_ahead").fetchone()
            if row is None:
                row = (str(uuid.uuid4()), FORMAT, 0)
                execute("INSERT INTO write_ahead VALUES (?, ?, ?)", row)
            self.uuid, found, self.life = row
            if found != FORMAT or not 0 <= self.life < LIVES_MAX - 1:
                error = sqlite3.DatabaseError(f"format {found}, life {self.life}")
                error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
                raise error
            if (self.uuid, self.life) != before:
                # What a damaged number says must not give a place a second time.
                query = "SELECT coalesce(max(life), 0) FROM segments WHERE life < ?"
                [(last,)] = execute(query, (LIVES_MAX - 1,))
                self.life = max(self.life, last) + 1
                execute("UPDATE write_ahead SET life = ?", (self.life,))
            execute("COMMIT")
            self._rows = self._count_rows()
            self._bytes = self._size()
        except BaseException:
            self._connection.close()
            raise

    def commit(self, segments: Sequence[Segment], base: int, *, again: bool = False) -> None:
        """Write the segments of one group; they are on the disk when this returns.

        Args:
            base: Number of the group's first request in this writer's life.
            again: It was tried before and seemed to fail. An error on the last step leaves open
                what happened. If the group is there, it is written anew, in its own place: what a
                disk once failed to sync, it does not sync when it is asked again.

        Raises:
            sqlite3.Error, OSError: Nothing was written, as far as can be known.
        """
        if not self._is_in_place():
            raise Replaced("the write-ahead was moved or deleted")
        self._check_room()
        execute = self._connection.execute
        added: dict[int, _StoredRoute] = {}
        execute("BEGIN IMMEDIATE")
        try:
            if again:
                execute("DELETE FROM segments WHERE life = ? AND base = ?", (self.life, base))
            for segment in segments:
                route = self._stored(segment.route, added)
                execute(_INSERT, self._row(segment, route, base))
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._rows += sum(segment.rows for segment in segments if segment.kind is Kind.INFERENCE)
        self._bytes += sum(len(segment.head) + len(segment.body) for segment in segments)
        if len(self._routes) > limits.LOG_ROUTES_CACHED_MAX:
            self._routes.clear()
        self._routes.update(added)

    def _check_room(self) -> None:
        """Refuse to grow when too much has not moved.

        Raises:
            Full: It holds as much as it may.
        """
        # Much may have moved since they were last counted.
        if self._rows > limits.LOG_BACKLOG_ROWS_MAX:
            self._rows = self._count_rows()
        if self._bytes > limits.LOG_BACKLOG_BYTES_MAX:
            self._bytes = self._size()
        if self._rows > limits.LOG_BACKLOG_ROWS_MAX or self._bytes > limits.LOG_BACKLOG_BYTES_MAX:
            raise Full("the write-ahead is full, for nothing moves to the tables")

    def _count_rows(self) -> int:
        """Return how many rows have not moved."""
        query = "SELECT coalesce(sum(rows), 0) FROM segments WHERE kind = ?"
        [(count,)] = self._connection.execute(query, (Kind.INFERENCE,))
        return int(count)

    def _row(self, segment: Segment, route: _StoredRoute, base: int) -> tuple[Any, ...]:
        covered = (
            int(segment.kind), segment.route.pipeline_id, route.id, segment.model, self.life, base,
            segment.first_of, segment.last_of, segment.entries, segment.rows,
            segment.first_time_us, segment.last_time_us, zlib.crc32(segment.body),
        )  # fmt: skip
        check = checksum(covered, route.digest, segment.head)
        return (*covered, check, segment.head, segment.body)

    def _stored(self, route: Route, added: dict[int, _StoredRoute]) -> _StoredRoute:
        """Return the row of a route; make it if there is none."""
        known = self._routes.get(id(route)) or added.get(id(route))
        if known is not None:
            return known
        execute = self._connection.execute
        text = orjson.dumps(route.to_json())
        key = digest(text)
        execute("INSERT OR IGNORE INTO routes (digest, json) VALUES (?, ?)", (key, text.decode()))
        (number,) = execute("SELECT id FROM routes WHERE digest = ?", (key,)).fetchone()
        added[id(route)] = _StoredRoute(route, number, key)
        return added[id(route)]

    def _size(self) -> int:
        """Return the bytes in use."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _is_in_place(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the file; what was committed is on the disk already."""
        self._connection.close()


def is_damage(error: BaseException) -> bool:
    """Say whether an error means that the file is not, or no longer, a database."""
    is_no_text = isinstance(error, UnicodeDecodeError)
    return is_no_text or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def set_aside(path: Path) -> Path:
    """Rename a damaged write-ahead, so that a new one can take its place; return the new name.

    Raises:
        OSError: It cannot be renamed.
    """
    aside = path.with_name(f"{path.stem}-damaged-{uuid.uuid4().hex[:8]}{path.suffix}")
    for companion in ("-wal", "-shm", ""):
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(aside.with_name(aside.name + companion))
    return aside
