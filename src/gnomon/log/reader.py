"""The requests of a pipeline, over the write-aheads of all fronts and its tables."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from heapq import merge
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from gnomon.core import limits
from gnomon.core.inference import Observation, Status
from gnomon.core.routing import ServedModel
from gnomon.log.arrays import bytes_of
from gnomon.log.candidates import Candidate
from gnomon.log.columns import open_columns
from gnomon.log.ended import opened
from gnomon.log.kept import kept
from gnomon.log.logged import LoggedInference, LoggedObservation
from gnomon.log.query import Cursor, LogQuery
from gnomon.log.records import Record, table_of
from gnomon.log.stored import LAST, Found, Place, StoredLog
from gnomon.log.table import TABLE_ERRORS
from gnomon.log.tables import LogTables
from gnomon.log.units import Description, Outcome, Part, Stack, Unit
from gnomon.log.views import DamagedSegment
from gnomon.log.write_ahead import PATTERN

_JOINED_AT_ONCE = 200
_ALL = LogQuery()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some requests of a pipeline.

    Attributes:
        records: Newest first, unless the query says otherwise.
        more: There are, or may be, further ones.
        next: Where they begin.
        notices: What could not be read, a sentence each.
    """

    records: tuple[Record, ...]
    more: bool
    next: Cursor
    notices: tuple[str, ...]

    def table(self) -> pa.Table:
        """Return the records as a table of `records.SCHEMA`."""
        return table_of(self.records)


def read(
    directory: Path,
    pipeline_id: int,
    *,
    query: LogQuery = _ALL,
    limit: int = limits.LOGS_DEFAULT,
    after: Cursor | None = None,
) -> Page:
    """Return requests of a pipeline, each with all that its challengers did so far.

    What is damaged is skipped and named in the page's notices; it is never an error and never
    gives a wrong record. Requests of one front come in the order in which they were logged; those
    of several are merged by their time.

    Args:
        directory: Of the inference log; may be missing. Its writers may be at work.
        limit: Requests, at most; a page ends earlier at `LOG_READ_REQUESTS_MAX` requests,
            `LOG_READ_BYTES_MAX` bytes or `LOG_READ_S`, and then says that there is more.
        after: The `next` of the page before; None: from the beginning.
    """
    notices: list[str] = []
    with contextlib.ExitStack() as stack:
        # First the write-aheads, then the tables: what left the former is in the latter.
        found = {log.uuid: log for log in _open(directory, notices, stack) if log.uuid}
        tables = _open_tables(directory, pipeline_id, notices)
        reading = _Reading(found, tables, pipeline_id, query, notices)
        return reading.page(min(limit, limits.LOG_READ_REQUESTS_MAX), after)


def _open(directory: Path, notices: list[str], stack: contextlib.ExitStack) -> Iterator[StoredLog]:
    for path in sorted(directory.glob(PATTERN)):
        try:
            log = StoredLog(path, notices)
        except (sqlite3.Error, ValueError, TypeError) as error:
            notices.append(f"{path.name}: cannot be read: {error}")
            continue
        stack.callback(log.close)
        log.check_index()
        if aside := log.set_aside():
            notices.append(f"{path.name}: {aside} damaged segments were set aside")
        yield log


def _open_tables(directory: Path, pipeline_id: int, notices: list[str]) -> LogTables:
    place = next(directory.glob(f"[0-9]*/{pipeline_id}"), None)
    try:
        return LogTables(place)
    except TABLE_ERRORS as error:
        notices.append(f"a table of the log cannot be read: {type(error).__name__}")
        return LogTables(None)


class _Reading:
    """One page in the making."""

    def __init__(
        self,
        logs: dict[str, StoredLog],  # by uuid, since somebody may have copied a file
        tables: LogTables,
        pipeline_id: int,
        query: LogQuery,
        notices: list[str],
    ) -> None:
        self._logs = logs
        self._tables = tables
        self._pipeline_id = pipeline_id
        self._query = query
        self._notices = notices

    def page(self, limit: int, after: Cursor | None) -> Page:
        """Return the page that begins at a cursor."""
        oldest_first = self._query.oldest_first
        if after is None:
            places = self._beginning()
        else:  # if the newest come first, what began to be written since is on no later page
            places = (self._beginning() if oldest_first else {}) | dict(after.places)
        sources = [self._source(log, place) for log, place in places.items()]
        deadline = time.monotonic() + limits.LOG_READ_S
        records: list[Record] = []
        size, more = 0, False
        for found in merge(*sources, key=Candidate.order, reverse=not oldest_first):
            if found.record is not None:
                if len(records) >= limit or size >= limits.LOG_READ_BYTES_MAX:
                    more = True
                    break
                record = found.record()
                if record is not None and self._query.takes_values(
                    record.entry.champion, record.challengers
                ):
                    records.append(record)
                    size += _size_of(record)
            if oldest_first:
                places[found.log] = max(places[found.log], found.place + 1)
            else:
                places[found.log] = min(places[found.log], found.place)
            if time.monotonic() > deadline:
                more = True
                break
        return Page(
            records=tuple(records),
            more=more,
            next=Cursor(places),
            notices=tuple(self._notices[: limits.LOG_NOTICES_MAX]),
        )

    def _beginning(self) -> dict[str, int]:
        """Return where a first page begins in each write-ahead.

        If the newest come first, that is where the log ends now: what is appended from now on is
        on no later page.
        """
        known = self._logs.keys() | self._tables.logs()
        if self._query.oldest_first:
            return dict.fromkeys(known, 0)
        return {log: self._end(log) for log in known}

    def _end(self, uuid: str) -> int:
        log = self._logs.get(uuid)
        last = log.last(self._pipeline_id) if log else None
        return max(self._tables.moved(uuid), last.packed() + 1 if last else 0)

    def _source(self, uuid: str, place: int) -> Iterator[Candidate]:
        """Yield the wanted requests of one write-ahead, those that have moved too."""
        moved = self._tables.moved(uuid)
        first, end = (place, LAST.packed()) if self._query.oldest_first else (0, place)
        old = kept(self._tables, uuid, (first, end), self._query, self._notices.append)
        new = self._fresh(uuid, Place.unpacked(max(first, moved)), Place.unpacked(end))
        for part in (old, new) if self._query.oldest_first else (new, old):
            yield from part

    def _fresh(self, uuid: str, first: Place, end: Place) -> Iterator[Candidate]:
        """Yield the wanted requests of one write-ahead that have not moved."""
        log, query = self._logs.get(uuid), self._query
        if log is None:
            return
        inferences = log.inferences(
            self._pipeline_id, (first, end), oldest_first=query.oldest_first
        )
        wanted = (
            found
            for found in inferences
            if query.takes_time(found.time_us)
            and query.request_id in (None, found.view.request_id(found.position))
        )
        while several := list(islice(wanted, _JOINED_AT_ONCE)):
            bases = {found.place: found.base for found in several if found.view.has_challengers}
            seen = log.observations(self._pipeline_id, bases)
            for found in several:
                models = found.view.sampled(found.position)
                observed = {model.label: seen.get((found.place, model.label)) for model in models}
                if query.takes_models(_statuses(found, observed)) and self._holds(found, observed):
                    make = partial(_record, found, observed)
                    yield Candidate(uuid, found.place.packed(), found.time_us, make)

    def _holds(self, found: Found, observed: dict[str, Found | None]) -> bool:
        """Say whether a row of a request is wanted."""
        query = self._query
        try:
            if query.where is None:
                return query.valid is None or bool(query.takes_anomalies(found.anomalies()).any())
            for each in (found, *observed.values()):
                if each is not None:
                    each.view.load()
        except DamagedSegment as error:
            self._notices.append(str(error))
            return False
        return bool(query.takes_rows(_unit(found, observed).rows("")).any())


def _unit(found: Found, observed: dict[str, Found | None]) -> Unit:
    """Return a request that may not have ended as it would stand in a table."""
    view = found.view
    outcomes: list[Outcome] = []
    parts: list[Part | None] = []
    for model in view.sampled(found.position):
        seen = observed[model.label]
        if seen is None:
            outcomes.append(Outcome(model, _unseen(found), "", ()))
            parts.append(None)
        else:
            of = seen.view.layout
            outcomes.append(Outcome(model, of.status, of.code, open_columns(of.outputs)))
            parts.append(Part(Stack([seen.view]), np.array([seen.position])))
    inputs, outputs, anomalies = opened(view)
    return Unit(
        description=Description(view.route, inputs, outputs, tuple(outcomes), anomalies),
        places=np.array([found.place.packed()]),
        inferences=Part(Stack([view]), np.array([found.position])),
        seen=tuple(parts),
    )


def _statuses(found: Found, observed: dict[str, Found | None]) -> dict[str, Status]:
    statuses = {
        label: seen.view.layout.status if seen else _unseen(found)
        for label, seen in observed.items()
    }
    return {found.view.model.label: Status.OK, **statuses}


def _unseen(found: Found) -> Status:
    # Only the front that answered knows the outcome; with its life over, nobody does.
    return Status.LOST if found.place.life < found.file.life else Status.PENDING


def _record(found: Found, observed: dict[str, Found | None]) -> Record | None:
    """Give an inference what its challengers did; None if it is damaged."""
    entry = found.file.decode(found)
    if not isinstance(entry, LoggedInference):
        return None
    challengers = [
        _observation(found, entry, model, observed[model.label])
        for model in sorted(entry.sampled, key=lambda model: model.label)
    ]
    return Record(entry=entry, challengers=tuple(challengers))


def _observation(
    found: Found, entry: LoggedInference, model: ServedModel, observed: Found | None
) -> Observation:
    logged = observed.file.decode(observed) if observed else None
    if isinstance(logged, LoggedObservation) and logged.request_id == entry.request_id:
        return logged.observation
    return Observation(model=model, status=Status.PENDING if observed else _unseen(found))


def _size_of(record: Record) -> int:
    entry = record.entry
    size = sum(map(bytes_of, (*entry.inputs.values(), *(entry.champion.outputs or ()))))
    return size + sum(bytes_of(each) for seen in record.challengers for each in seen.outputs or ())
