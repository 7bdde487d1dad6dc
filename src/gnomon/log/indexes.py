"""What leads to the segments of a write-ahead: its index, as long as that can be believed.

SQLite does not compare an index with what it leads to, and has no checksums: a flipped bit in it
would hide segments, or lead to others than are looked for. But the index has nothing that the
segments do not have.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

SEGMENTS = "segments"
RENEW = "REINDEX segments_by_pipeline"

_COLUMNS = ("seq", "pipeline_id", "kind", "life", "base", "first_of", "last_of")
_SUMS = ", ".join(f"sum({each}), sum(typeof({each}) = 'integer')" for each in _COLUMNS)
_OF_SEGMENTS = f"SELECT {_SUMS} FROM segments NOT INDEXED"  # noqa: S608
_OF_INDEX = f"SELECT {_SUMS} FROM segments INDEXED BY segments_by_pipeline"  # noqa: S608
_FIRST = "SELECT seq FROM segments NOT INDEXED ORDER BY seq LIMIT {}"
_LAST = "SELECT seq FROM segments NOT INDEXED ORDER BY seq DESC LIMIT {}"
_READABLE = """(
    SELECT one.* FROM (SELECT * FROM ({}) UNION SELECT * FROM ({}))
    CROSS JOIN segments AS one USING (seq)
)"""


def source(connection: sqlite3.Connection, note: Callable[[str], None]) -> str:
    """Return from where queries should take segments; to see that takes 2 us a segment.

    Args:
        note: Takes a sentence about each thing that is damaged.

    Returns:
        `SEGMENTS`; or, if the index is damaged, what stands for the segments that can be read.
    """
    there, indexed = (_sums(connection, each) for each in (_OF_SEGMENTS, _OF_INDEX))
    if there is None:
        note("a part cannot be read")
    if indexed is not None and there in (None, indexed):
        return SEGMENTS
    note("its index is damaged; it is read without")
    return _READABLE.format(*(each.format(_count(connection, each)) for each in (_FIRST, _LAST)))


def _sums(connection: sqlite3.Connection, query: str) -> Any:
    """Return what two ways to the segments must agree about; None: it cannot be read."""
    try:
        return connection.execute(query).fetchone()
    except sqlite3.Error:
        return None


def _count(connection: sqlite3.Connection, query: str) -> int:
    """Return how many segments can be read from one end, up to a part that is damaged."""
    count = 0
    with contextlib.suppress(sqlite3.Error):
        for _ in connection.execute(query.format(-1)):
            count += 1
    return count
