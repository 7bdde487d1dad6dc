"""Takes segments out of a write-ahead, and mends its index, while its writer is at work."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from gnomon.core import limits
from gnomon.log import indexes
from gnomon.log.layouts import Kind
from gnomon.log.stored import Place

_AT_ONCE = 100  # segments in one transaction: the writer waits for it

_DELETE = "DELETE FROM segments WHERE seq = ?"
_MOVED_OBSERVATIONS = """
    SELECT seq FROM segments WHERE pipeline_id = ? AND kind = ?
    AND (life < ? OR life = ? AND coalesce(last_of + 1, base) <= ?)
"""


def delete_moved(path: Path, uuid: str, pipeline_id: int, moved: int, seqs: Sequence[int]) -> None:
    """Delete segments of a pipeline that a table has.

    Args:
        uuid: Of the write-ahead; another one of that name is left alone.
        moved: Packed place: what stands before it is in the table. Observations of that are
            deleted too.
        seqs: Segments of inferences, all of which stand before `moved`.

    Raises:
        sqlite3.Error: They could not all be deleted; the others will be found again.
    """
    with _opened(path, uuid) as connection:
        life, number = Place.unpacked(moved)
        key = (pipeline_id, Kind.OBSERVATION, life, life, number)
        observations = connection.execute(_MOVED_OBSERVATIONS, key).fetchall()
        gone = [*((seq,) for seq in seqs), *observations]
        for start in range(0, len(gone), _AT_ONCE):
            with _transaction(connection):
                connection.executemany(_DELETE, gone[start : start + _AT_ONCE])


def set_damaged_aside(path: Path, uuid: str, seqs: Collection[int]) -> None:
    """Move damaged segments out of the way, to a table of their own.

    Raises:
        sqlite3.Error: They could not be moved; they will be found again.
    """
    with _opened(path, uuid) as connection, _transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS damaged AS SELECT * FROM segments LIMIT 0")
        one_each = [(seq,) for seq in seqs]
        connection.executemany("INSERT INTO damaged SELECT * FROM segments WHERE seq = ?", one_each)
        connection.executemany(_DELETE, one_each)


def renew_index(path: Path, uuid: str) -> None:
    """Make the index of a write-ahead anew from its segments.

    Raises:
        sqlite3.Error: It could not be made; the index is as it was.
    """
    with _opened(path, uuid) as connection:
        connection.execute(indexes.RENEW)


@contextlib.contextmanager
def _opened(path: Path, uuid: str) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, timeout=limits.LOG_BUSY_TIMEOUT_S, isolation_level=None)
    ) as connection:
        if connection.execute("SELECT uuid FROM write_ahead").fetchone() != (uuid,):
            raise sqlite3.DatabaseError("it was replaced by another one")
        # Where SQLite is built to write zeros over all that is deleted, that would be as much to
        # write as what was logged.
        connection.execute("PRAGMA secure_delete=FAST")
        yield connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
