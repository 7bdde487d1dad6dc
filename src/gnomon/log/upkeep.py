"""Keeps the tables small: merges small files in the order of their rows, forgets old ones.

A large tensor, which is a file of its own, stays as long as a file of the table names it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import log
from pathlib import Path

import pyarrow as pa

from gnomon.core import limits
from gnomon.log import parquet
from gnomon.log.table import TABLE_ERRORS, DataFile, LogTable
from gnomon.log.tables import LogTables
from gnomon.log.units import LOG

_TIER = 16  # files of one size are merged when there are that many, to one of the next size


def merge_small_files(table: LogTable) -> None:
    """Merge files that lie beside each other, so that there are never many.

    Raises:
        One of TABLE_ERRORS: It was done or not: the table is to be opened again.
    """
    for _, files in groupby(table.files(), key=lambda file: file.log):
        run = _run_of_small(list(files))
        if len(run) >= _TIER:
            table.commit([table.write_file(run[0].log, _rows(run))], run)


def _run_of_small(files: Sequence[DataFile]) -> Sequence[DataFile]:
    """Return the longest run of files at the newer end that are worth merging.

    None is larger than the rest together would become soon: so a row is rewritten once per tier.
    """
    run: Sequence[DataFile] = ()
    largest, total = 0, 0
    for start in range(len(files) - 1, -1, -1):
        largest = max(largest, _tier(files[start]))
        total += files[start].bytes
        if total > limits.LOG_FILE_BYTES_MAX:
            break
        alike = files[start:]
        if sum(_tier(file) == largest for file in alike) >= _TIER:
            run = alike
    return run


def _tier(file: DataFile) -> int:
    return int(log(max(file.bytes, limits.LOG_FILE_BYTES_MIN), _TIER))


def _rows(files: Sequence[DataFile]) -> Iterator[pa.Table]:
    """Yield the rows of some files, about a row group at a time."""
    waiting: list[pa.Table] = []
    for file in files:
        with parquet.opened(file.path) as source:
            for group in range(source.metadata.num_row_groups):
                waiting.append(source.read_row_group(group, use_threads=False))
                if (
                    sum(table.num_rows for table in waiting) >= limits.LOG_ROW_GROUP_ROWS
                    or sum(table.nbytes for table in waiting) >= limits.LOG_FLUSH_BYTES_MAX
                ):
                    rows = pa.concat_tables(waiting, promote_options="default")
                    yield rows.slice(0, limits.LOG_ROW_GROUP_ROWS)
                    waiting = [rows.slice(limits.LOG_ROW_GROUP_ROWS)]
    rest = pa.concat_tables(waiting, promote_options="default")
    if rest.num_rows:
        yield rest


def forget(pipelines: Sequence[LogTables], *, keep_s: float, keep_bytes: int) -> None:
    """Forget the files whose newest request is too old, and the oldest ones beyond a size.

    Args:
        pipelines: All of them.
        keep_s: Age.
        keep_bytes: Of the files of all tables together, and of the large tensors that they name.

    Raises:
        One of TABLE_ERRORS: Not all of them were forgotten.
    """
    files = [
        (file, table, of)
        for of in map(_Named, pipelines)
        for table in of.tables.generations
        for file in table.files()
    ]
    files.sort(key=lambda each: each[0].last_us)
    excess = sum(file.bytes + of.take(table, file) for file, table, of in files) - keep_bytes
    oldest_us = (time.time() - keep_s) * 1e6
    gone: dict[LogTable, list[DataFile]] = {}
    for file, table, of in files:
        if file.last_us < oldest_us or excess > 0:
            gone.setdefault(table, []).append(file)
            excess -= file.bytes + of.let_go(table, file)
    for table, several in gone.items():
        table.commit((), several)


class _Named:
    """The large tensors of a pipeline, and how many files of its tables name each."""

    def __init__(self, tables: LogTables) -> None:
        self.tables = tables
        self._uses: Counter[str] = Counter()
        self._bytes = {path.name: size for path, size in tables.blobs.sizes()}

    def take(self, table: LogTable, file: DataFile) -> int:
        """Count those that a file names; return the bytes of the ones that no other did before."""
        names = _named(table, file) or frozenset()
        fresh = [name for name in names if not self._uses[name]]
        self._uses.update(names)
        return sum(self._bytes.get(name, 0) for name in fresh)

    def let_go(self, table: LogTable, file: DataFile) -> int:
        """Return the bytes of those that nothing names without a file."""
        names = _named(table, file) or frozenset()
        self._uses.subtract(names)
        return sum(self._bytes.get(name, 0) for name in names if not self._uses[name])


def _named(table: LogTable, file: DataFile) -> frozenset[str] | None:
    """Return the names of the large tensors of a file; None: it cannot be read."""
    try:
        return table.blobs(file)
    except TABLE_ERRORS:
        return None


class Replaced:
    """The files that a table has no more, and since when that is known."""

    def __init__(self) -> None:
        self._since: dict[Path, float] = {}  # monotonic

    def delete(self, pipelines: Iterable[LogTables]) -> None:
        """Delete those that nobody can be reading any more.

        Raises:
            One of TABLE_ERRORS: Not all could be deleted.
        """
        now = time.monotonic()
        there = {path for tables in pipelines for path in _unused(tables)}
        self._since = {path: self._since.get(path, now) for path in there}
        for path, since in self._since.items():
            if now - since >= limits.LOG_REPLACED_KEPT_S:
                path.unlink(missing_ok=True)


def _unused(tables: LogTables) -> Iterator[Path]:
    named: list[frozenset[str] | None] = []
    for table in tables.generations:
        files = table.files()
        used = {file.path for file in files}
        named += [_named(table, file) for file in files]
        yield from (path for path in table.path.glob(f"{LOG}=*/*") if path not in used)
    if None not in named:  # else nobody knows which are
        needed = frozenset().union(*(names or () for names in named))
        yield from (path for path, _ in tables.blobs.sizes() if path.name not in needed)
