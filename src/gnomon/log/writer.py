"""LogWriter: takes entries from the front's loop, commits them in groups from a thread."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnomon.core import limits
from gnomon.core.inference import InferenceEntry, Told
from gnomon.log import segments
from gnomon.log.arrays import bytes_of
from gnomon.log.breather import Breather
from gnomon.log.layouts import Entry
from gnomon.log.redaction import redacted
from gnomon.log.segments import Segment
from gnomon.log.waiters import Deliver, Waiters
from gnomon.log.write_ahead import WriteAhead, is_damage, set_aside

logger = logging.getLogger(__name__)

# What the Python objects take beside the values, about
_ENTRY_BYTES = 1_000
_REQUEST_BYTES = 200
# What may pass by itself, so that trying again helps; but for what SQLite says of wrong values.
_PASSING = (sqlite3.Error, OSError, MemoryError, UnicodeDecodeError)
_REFUSED = (
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.IntegrityError,
)


@dataclass(slots=True)
class _Group:
    """Requests on their way to the disk.

    Attributes:
        base: Number of the first request.
        requests: How many, also those that could not be encoded.
        bytes: What they were counted as in the queue.
        tried: A commit has failed, or seemed to.
    """

    base: int
    requests: int
    bytes: int
    refused: int
    segments: list[Segment]
    tried: bool = False


class LogWriter:
    """The inference log of one front; implements `core.inference.InferenceLog`.

    It counts requests: a request's inference is one and each observation of it is one.

    A commit begins at most `LOG_COMMIT_INTERVAL_S` after an entry was appended, earlier when
    `LOG_COMMIT_ENTRIES_MAX` wait, and at once when somebody waits for it: what comes meanwhile
    goes into the next commit. An observation must be appended after its inference. Of an entry
    that its route redacts, the columns left out are never written.

    When the disk is full or fails, what was appended stays in memory and is tried again until it
    succeeds; meanwhile what is beyond the queue's bounds is dropped and counted. `stats` says
    so. Nothing of it is ever raised.

    Encoding shares the interpreter with the loop: a process that serves requests sets
    `sys.setswitchinterval(0.001)`, and the loop waits a millisecond for a group instead of five.

    Args:
        path: The write-ahead; made if it is missing.
        queue_requests_max: Requests not yet committed, at most.
        queue_bytes_max: Their size in memory, about, at most.
    """

    def __init__(
        self,
        path: Path,
        *,
        queue_requests_max: int = limits.LOG_QUEUE_ENTRIES_MAX,
        queue_bytes_max: int = limits.LOG_QUEUE_BYTES_MAX,
    ) -> None:
        self._path = path
        self._requests_max = queue_requests_max
        self._bytes_max = queue_bytes_max
        # Each counter has one writer, so none needs a lock: first those of the appending thread,
        self._queue: deque[tuple[Entry, int]] = deque()
        self._requests_in = 0
        self._bytes_in = 0
        self._dropped = 0
        self._awaited = 0  # requests up to the last one that somebody waits for
        # then those of the committing thread.
        self._requests_out = 0
        self._bytes_out = 0
        self._refused = 0
        self._trouble: str | None = None
        self._store: WriteAhead | None = None
        self._identity: tuple[str, int] | None = None
        self._taken = 0  # also the number of the next one
        self._breathe = Breather(self._is_hurried)

        self._waiters = Waiters()
        self._wake = threading.Event()
        self._settled = threading.Condition()  # guards what other threads ask for
        self._wanted = 0  # requests whose commit somebody waits for
        self._asked = False
        self._close_by: float | None = None  # monotonic
        self._thread = threading.Thread(target=self._run, name="inference-log", daemon=True)
        self._thread.start()

    # The appending thread

    def append(self, entry: Entry, told: Told | None = None) -> bool:
        """Take the entry; False if it was dropped because the queue is full or closed.

        Never blocks. Call it from one thread only. The entry's arrays must not change afterwards;
        they are let go when the entry is committed.

        Args:
            told: See `core.inference.InferenceLog`, and `deliver_by`.
        """
        count, size = len(entry.request_ids), _size_of(entry)
        if (
            self._requests_in - self._requests_out + count > self._requests_max
            or self._bytes_in - self._bytes_out + size > self._bytes_max
            or self._close_by is not None
        ):
            self._dropped += count
            return False
        if told is not None:
            self._wait_for(count, told)
        self._queue.append((entry, size))
        self._requests_in += count
        self._bytes_in += size
        queued = self._requests_in - self._taken
        if (
            len(self._queue) == 1
            or told is not None
            or queued - count < limits.LOG_COMMIT_ENTRIES_MAX <= queued
        ):
            self._wake.set()
        return True

    def _wait_for(self, count: int, told: Told) -> None:
        """Have the next requests committed at once, and somebody told; or told that it is vain."""
        if self._trouble is not None:
            self._waiters.turn_away(count, told)
            return
        self._awaited = self._requests_in + count
        self._waiters.add(self._awaited, count, told)

    def deliver_by(self, deliver: Deliver) -> None:
        """Have those who wait told so: `loop.call_soon_threadsafe`, as a rule.

        It is called once a commit. Without it they are told in the committing thread.
        """
        self._waiters.deliver = deliver

    # Any thread

    @property
    def trouble(self) -> str | None:
        """Say why what is appended now may not be kept; None: nothing is wrong."""
        if self._trouble is not None:
            return self._trouble
        return "too much waits to be written" if self.is_full else None

    @property
    def is_full(self) -> bool:
        """Say whether what is appended now is dropped."""
        return (
            self._requests_in - self._requests_out >= self._requests_max
            or self._bytes_in - self._bytes_out >= self._bytes_max
        )

    def commit(self, timeout_s: float) -> bool:
        """Wait until all that was appended so far is on the disk; False if that took too long."""
        target = self._hurry()
        with self._settled:
            return self._settled.wait_for(lambda: self._requests_out >= target, timeout_s)

    def _hurry(self) -> int:
        """Have all that was appended so far committed now; return how many requests that is."""
        with self._settled:
            target = self._requests_in
            self._wanted = max(self._wanted, target)
            self._asked = True
        self._wake.set()
        return target

    def stats(self) -> dict[str, Any]:
        """Return the counters since the start.

        Returns:
            appended: Requests taken.
            dropped: Requests not taken because the queue was full, or that could not be encoded.
            uncommitted: Requests taken and not yet on the disk.
            undurable: Requests that somebody waited for, and whose first commit failed.
            degraded: Why nothing can be committed at present; None if all is well.
        """
        out = self._requests_out
        return {
            "appended": self._requests_in,
            "dropped": self._dropped + self._refused,
            "uncommitted": self._requests_in - out,
            "undurable": self._waiters.failed,
            "degraded": self._trouble,
        }

    def close(self, timeout_s: float = limits.LOG_CLOSE_TIMEOUT_S) -> None:
        """Commit what is left, within a bound, and close the file; `append` drops from now on."""
        if self._close_by is None:
            self._close_by = time.monotonic() + timeout_s
        self._hurry()
        self._thread.join(timeout_s + limits.LOG_BUSY_TIMEOUT_S)
        left = self._requests_in - self._requests_out
        if left:
            logger.error("inference log: %d requests could not be written before the end", left)

    # The committing thread

    def _run(self) -> None:
        group: _Group | None = None
        failures = 0 if self._connect() else 1
        while not self._is_over(group):
            self._wait(failures)
            self._asked = False
            if self._store is None and not self._connect():
                failures += 1
                continue
            if group is None and not self._queue:
                failures = 0
                self._recover()
            while group is not None or self._queue:
                group = group or self._take()
                if not self._write(group):
                    failures += 1
                    break
                self._settle(group)
                group, failures = None, 0
                if not self._is_due():
                    break
        self._disconnect()

    def _is_over(self, group: _Group | None) -> bool:
        if self._close_by is None:
            return False
        return (group is None and not self._queue) or time.monotonic() >= self._close_by

    def _is_due(self) -> bool:
        return self._requests_in - self._taken >= limits.LOG_COMMIT_ENTRIES_MAX or self._is_waited()

    def _is_waited(self) -> bool:
        """Say whether somebody waits for a commit."""
        return (
            self._wanted > self._requests_out
            or self._awaited > self._requests_out
            or self._close_by is not None
        )

    def _is_hurried(self) -> bool:
        """Say whether somebody waits, or more comes than is written."""
        return (
            self._is_waited()
            or self._requests_in - self._requests_out >= 3 * limits.LOG_COMMIT_ENTRIES_MAX
        )

    def _wait(self, failures: int) -> None:
        """Sleep until there is something to commit, and then until it is worth it, or asked for."""
        if failures:
            pause_s = limits.LOG_COMMIT_INTERVAL_S * 2.0 ** min(failures - 1, 10)
            self._sleep(lambda: self._asked, min(pause_s, limits.LOG_RETRY_MAX_S))
        else:
            self._sleep(lambda: bool(self._queue) or self._is_due(), None)
            self._sleep(self._is_due, limits.LOG_COMMIT_INTERVAL_S)

    def _sleep(self, is_over: Callable[[], bool], timeout_s: float | None) -> None:
        """Sleep until a condition holds; whoever makes it true sets `_wake` afterwards."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._wake.clear()
            left_s = None if deadline is None else deadline - time.monotonic()
            if is_over() or (left_s is not None and left_s <= 0):
                return
            self._wake.wait(left_s)

    def _take(self) -> _Group:
        """Take what fits one group from the queue and encode it; lets the entries go."""
        self._breathe.begin()
        base, size = self._taken, 0
        entries: list[Entry] = []
        while (
            self._queue
            and self._taken - base < limits.LOG_COMMIT_ENTRIES_MAX
            and (size == 0 or size + self._queue[0][1] <= limits.LOG_COMMIT_BYTES_MAX)
        ):
            entry, entry_size = self._queue.popleft()
            if isinstance(entry, InferenceEntry):
                entry.ticket.number = self._taken
            entries.append(entry)
            size += entry_size
            self._taken += len(entry.request_ids)
            self._breathe()
        count = self._taken - base
        try:
            encoded, reasons = segments.encode(
                [redacted(entry) for entry in entries], self._breathe
            )
        except Exception as error:  # a fault of ours must not end the log
            encoded, reasons = [], [error]
        refused = count - sum(segment.entries for segment in encoded)
        if reasons:
            logger.error(
                "inference log: %d requests cannot be encoded and are dropped",
                refused,
                exc_info=reasons[0],
            )
        return _Group(base, count, size, refused, encoded)

    def _write(self, group: _Group) -> bool:
        """Commit a group; False if it has to be tried again."""
        assert self._store is not None
        try:
            if group.segments:
                self._store.commit(group.segments, group.base, again=group.tried)
        except _PASSING as error:
            if not isinstance(error, _REFUSED):
                group.tried = True
                self._fail(error)
                return False
            logger.exception("inference log: %d requests cannot be stored", group.requests)
            group.refused = group.requests
        self._recover()
        return True

    def _recover(self) -> None:
        """Note that it can be written."""
        if self._trouble is not None:
            logger.warning("inference log: it can be written again")
            self._trouble = None

    def _settle(self, group: _Group) -> None:
        with self._settled:
            self._requests_out += group.requests
            self._bytes_out += group.bytes
            self._refused += group.refused
            self._settled.notify_all()
        self._waiters.tell(is_kept=not group.refused, up_to=self._requests_out)

    def _connect(self) -> bool:
        try:
            self._store = WriteAhead(self._path, self._identity)
        except _PASSING as error:
            self._fail(error)
            return False
        self._identity = (self._store.uuid, self._store.life)
        return True

    def _fail(self, error: Exception) -> None:
        """Note why nothing can be written, tell who waits, and start anew with the next try."""
        # Neither text names a path.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if self._trouble is None:
            logger.error("inference log: it cannot be written: %s; trying again", reason)
        self._trouble = reason or type(error).__name__
        self._waiters.tell(is_kept=False)
        self._disconnect()
        if is_damage(error):
            try:
                set_aside(self._path)
            except OSError as failure:
                logger.error("inference log: cannot set the file aside: %s", failure.strerror)

    def _disconnect(self) -> None:
        if self._store is not None:
            with contextlib.suppress(sqlite3.Error):
                self._store.close()
            self._store = None


def _size_of(entry: Entry) -> int:
    """Return the bytes that an entry keeps in memory, about."""
    size = _ENTRY_BYTES + _REQUEST_BYTES * len(entry.request_ids)
    if isinstance(entry, InferenceEntry):
        outputs = entry.champion.outputs
        for array in entry.inputs.values():
            size += bytes_of(array)
    else:
        outputs = entry.observation.outputs
    for array in outputs or ():
        size += bytes_of(array)
    return size
