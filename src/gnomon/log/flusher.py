"""The flusher: moves requests that have ended from the write-aheads to the tables."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pyarrow as pa

from gnomon.core import limits
from gnomon.log.emptying import delete_moved, renew_index, set_damaged_aside
from gnomon.log.ended import find_ended
from gnomon.log.places import directory_of, pipeline_directories
from gnomon.log.stored import Place, StoredLog
from gnomon.log.table import TABLE_ERRORS
from gnomon.log.tables import LogTables
from gnomon.log.upkeep import Replaced, forget, merge_small_files
from gnomon.log.write_ahead import PATTERN

logger = logging.getLogger(__name__)

LOCK = "flusher.lock"


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of the log is kept.

    Attributes:
        seconds: Age of the newest request of a file.
        bytes: Of all tables together.
    """

    seconds: float = limits.LOG_KEPT_DAYS * 86_400.0
    bytes: int = limits.LOG_KEPT_BYTES


_USUAL = Keep()


def run(directory: Path, stop: threading.Event, keep: Keep = _USUAL) -> None:
    """Move what has ended, every few seconds, until told to stop.

    Only one process does so at a time; another waits until the first one is gone.

    Args:
        directory: Of the inference log.
    """
    while (lock := _taken(directory / LOCK)) is None:
        if stop.wait(limits.LOG_RETRY_MAX_S):
            return
    with lock:
        flusher = Flusher(directory, keep)
        is_behind = False
        tidied = time.monotonic()
        while not stop.wait(0 if is_behind else limits.LOG_FLUSH_INTERVAL_S):
            is_behind = flusher.flush()
            if time.monotonic() - tidied >= limits.LOG_UPKEEP_INTERVAL_S:
                flusher.tidy()
                tidied = time.monotonic()
            if not is_behind:  # what a flush takes for a moment is not held until the next one
                pa.default_memory_pool().release_unused()


def _taken(path: Path) -> IO[str] | None:
    """Return the file of the lock, which is held as long as it is open; None: not now.

    That is while another process has it, or while the directory cannot be written.
    """
    try:
        lock = path.open("w")
    except OSError:
        return None
    try:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


@dataclass(slots=True)
class _Waiting:
    """Since when requests of one pipeline have stood in one write-ahead.

    Attributes:
        seen: When, by the monotonic clock, everything up to a packed place had been seen.
        awaited: Packed place: what stands before it has been there for `LOG_OPEN_MAX_S`.
    """

    seen: deque[tuple[float, int]] = field(default_factory=deque)
    awaited: int = 0

    def note(self, last: int) -> None:
        """Take note of the last place that is there now."""
        self.seen.append((time.monotonic(), last))
        while self.seen and self.seen[0][0] <= time.monotonic() - limits.LOG_OPEN_MAX_S:
            self.awaited = self.seen.popleft()[1] + 1


class Flusher:
    """Moves requests to the tables. Only one at a time may be at work in a directory.

    Args:
        directory: Of the inference log.
    """

    def __init__(self, directory: Path, keep: Keep = _USUAL) -> None:
        self._directory = directory
        self._keep = keep
        self._tables: dict[Path, LogTables] = {}
        self._waiting: dict[tuple[str, int], _Waiting] = {}
        self._replaced = Replaced()
        self._told: set[str] = set()

    def tidy(self) -> None:
        """Merge small files, forget old ones, and delete what nobody reads any more."""
        pipelines = []
        for place in pipeline_directories(self._directory):
            try:
                for table in self._opened(place).generations:
                    merge_small_files(table)
            except Exception as error:  # what is wrong with one must not hold up the others
                self._give_up(place, "cannot be tidied", error)
            try:
                pipelines.append(self._opened(place))
            except TABLE_ERRORS as error:
                self._give_up(place, "cannot be read", error)
        try:
            forget(pipelines, keep_s=self._keep.seconds, keep_bytes=self._keep.bytes)
            self._replaced.delete(pipelines)
        except TABLE_ERRORS as error:
            self._tables.clear()  # one of them may have been changed in part
            self._tell(f"old files cannot be forgotten now: {error}")

    def _opened(self, place: Path) -> LogTables:
        """Return the tables in a directory, as this flusher has left them.

        Raises:
            One of TABLE_ERRORS: They cannot be read.
        """
        tables = self._tables.get(place)
        if tables is None:
            tables = LogTables(place)
            for table in tables.generations:
                table.sync()  # who made the last commit may have been killed before that
            self._tables[place] = tables
        return tables

    def flush(self) -> bool:
        """Move what has ended, up to a size; return whether there is more to move now."""
        is_behind = False
        for path in sorted(self._directory.glob(PATTERN)):
            try:
                is_behind |= self._flush_file(path)
            except (sqlite3.Error, OSError, ValueError, TypeError) as error:
                self._tell(f"{path.name}: cannot be moved now: {error}")
        return is_behind

    def _flush_file(self, path: Path) -> bool:
        notices: list[str] = []
        with contextlib.closing(StoredLog(path, notices)) as log:
            is_sound = log.check_index()
            pipelines = log.pipelines() if log.uuid else []
        if not is_sound:
            renew_index(path, log.uuid)  # what it does not lead to could not be deleted either
        is_behind = False
        for workspace_id, pipeline_id in pipelines:
            place = directory_of(self._directory, workspace_id, pipeline_id)
            try:
                is_behind |= self._flush_pipeline(path, pipeline_id, place, notices)
            except Exception as error:  # what is wrong with one must not hold up the others
                self._give_up(place, "cannot be written", error)
        for notice in notices:
            self._tell(notice)
        return is_behind

    def _flush_pipeline(
        self, path: Path, pipeline_id: int, place: Path, notices: list[str]
    ) -> bool:
        tables = self._opened(place)
        with contextlib.closing(StoredLog(path, notices)) as log:
            moved = tables.moved(log.uuid)
            waiting = self._waiting.setdefault((log.uuid, pipeline_id), _Waiting())
            # A former life of the front can complete nothing any more.
            awaited = max(waiting.awaited, Place(log.life, 0).packed())
            ended = find_ended(log, pipeline_id, moved, awaited)
            log.unpin()  # writing tables takes long, and what moves is deleted by nobody else
            if ended is not None:
                waiting.note(ended.last)
                if ended.units:
                    tables.append(log.uuid, ended.units, ended.end)
                    moved = ended.end
        if log.damaged:
            set_damaged_aside(path, log.uuid, log.damaged)
        delete_moved(path, log.uuid, pipeline_id, moved, ended.seqs if ended else ())
        return ended is not None and ended.more and bool(ended.units)

    def _give_up(self, place: Path, what: str, error: Exception) -> None:
        """Leave a pipeline's tables as they are, until the next time."""
        self._tables.pop(place, None)  # they may have been written in part
        is_known = isinstance(error, (*TABLE_ERRORS, sqlite3.Error))
        self._tell(
            f"the table of pipeline {place.name} {what} now: {error}", not is_known and error
        )

    def _tell(self, what: str, trace: Exception | bool = False) -> None:
        """Log a sentence, once."""
        if what not in self._told and len(self._told) < limits.LOG_NOTICES_MAX:
            self._told.add(what)
            logger.warning("inference log: %s", what, exc_info=trace or None)
