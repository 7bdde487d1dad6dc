"""Keeps the tables small: merges small files in the order of their rows, forgets old ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import log
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gnomon.core import limits
from gnomon.log.table import DataFile, LogTable
from gnomon.log.units import LOG

_TIER = 16  # files of one size are merged when there are that many, to one of the next size


def merge_small_files(table: LogTable) -> None:
    """Merge files that lie beside each other, so that there are never many.

    Raises:
        One of TABLE_ERRORS: It was not done; the table is as it was.
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
        with pq.ParquetFile(file.path, page_checksum_verification=True) as source:
            for group in range(source.metadata.num_row_groups):
                waiting.append(source.read_row_group(group))
                if sum(table.num_rows for table in waiting) >= limits.LOG_ROW_GROUP_ROWS:
                    rows = pa.concat_tables(waiting, promote_options="default")
                    yield rows.slice(0, limits.LOG_ROW_GROUP_ROWS)
                    waiting = [rows.slice(limits.LOG_ROW_GROUP_ROWS)]
    rest = pa.concat_tables(waiting, promote_options="default")
    if rest.num_rows:
        yield rest


def forget(tables: Sequence[LogTable], *, keep_s: float, keep_bytes: int) -> None:
    """Forget the files whose newest request is too old, and the oldest ones beyond a size.

    Args:
        tables: Of all pipelines.
        keep_s: Age.
        keep_bytes: Of the files of all tables together.

    Raises:
        One of TABLE_ERRORS: Not all of them were forgotten.
    """
    files = [(file, table) for table in tables for file in table.files()]
    files.sort(key=lambda each: each[0].last_us)
    excess = sum(file.bytes for file, _ in files) - keep_bytes
    oldest_us = (time.time() - keep_s) * 1e6
    gone: dict[LogTable, list[DataFile]] = {}
    for file, table in files:
        if file.last_us < oldest_us or excess > 0:
            gone.setdefault(table, []).append(file)
            excess -= file.bytes
    for table, several in gone.items():
        table.commit((), several)


class Replaced:
    """The files that a table has no more, and since when that is known."""

    def __init__(self) -> None:
        self._since: dict[Path, float] = {}  # monotonic

    def delete(self, tables: Iterable[LogTable]) -> None:
        """Delete those that nobody can be reading any more.

        Raises:
            OSError: Not all could be deleted.
        """
        now = time.monotonic()
        there = {path for table in tables for path in _unused(table)}
        self._since = {path: self._since.get(path, now) for path in there}
        for path, since in self._since.items():
            if now - since >= limits.LOG_REPLACED_KEPT_S:
                path.unlink(missing_ok=True)


def _unused(table: LogTable) -> Iterator[Path]:
    used = {file.path for file in table.files()}
    return (path for path in table.path.glob(f"{LOG}=*/*.parquet") if path not in used)
