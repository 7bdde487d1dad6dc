"""The newest requests of a pipeline, over the write-aheads of all fronts."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

import pyarrow as pa

from gnomon.core import limits
from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status
from gnomon.core.routing import ServedModel
from gnomon.log.arrays import bytes_of
from gnomon.log.records import Record, table_of
from gnomon.log.stored import Found, Place, StoredLog
from gnomon.log.write_ahead import PATTERN

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended, and the next one goes on.

    Attributes:
        places: For each write-ahead, by its uuid, the place that the next page stands before.
    """

    places: Mapping[str, Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some requests of a pipeline.

    Attributes:
        records: Newest first.
        more: There are older ones.
        older: Where they begin.
        notices: What could not be read, a sentence each.
    """

    records: tuple[Record, ...]
    more: bool
    older: Cursor
    notices: tuple[str, ...]


def read(
    directory: Path,
    pipeline_id: int,
    *,
    limit: int = limits.LOGS_DEFAULT,
    before: Cursor | None = None,
) -> tuple[pa.Table, bool]:
    """Return the newest requests of a pipeline as a table of `records.SCHEMA`, newest first.

    Arguments as of `read_records`.

    Returns:
        The table, and whether there are older requests.
    """
    page = read_records(directory, pipeline_id, limit=limit, before=before)
    return table_of(page.records), page.more


def read_records(
    directory: Path,
    pipeline_id: int,
    *,
    limit: int = limits.LOGS_DEFAULT,
    before: Cursor | None = None,
) -> Page:
    """Return the newest requests of a pipeline, each with all that its challengers did so far.

    What is damaged is skipped and named in the page's notices; it is never an error and never
    gives a wrong record. Requests of one front come in the order in which they were logged; those
    of several are merged by their time.

    Args:
        directory: Of the write-aheads; may be missing. Their writers may be at work.
        limit: Requests, at most; a page ends earlier at `LOG_READ_REQUESTS_MAX` requests or
            `LOG_READ_BYTES_MAX` bytes, and then says that there is more.
        before: The `older` of the page before; None: the newest.
    """
    notices: list[str] = []
    with contextlib.ExitStack() as stack:
        logs = {log.uuid: log for log in _open(directory, notices, stack) if _is_in(before, log)}
        files = list(logs.values())  # by uuid, since somebody may have copied a file
        places = dict(before.places) if before else dict.fromkeys(logs, Place(0, 0))
        chosen, more = _choose(files, pipeline_id, limit, places, is_first=before is None)
        records = _join(files, pipeline_id, chosen)
    for found, _ in chosen[: len(records)]:
        places[found.file.uuid] = found.place
    return Page(
        records=tuple(records),
        more=more or len(records) < len(chosen),
        older=Cursor(places),
        notices=tuple(notices),
    )


def _open(directory: Path, notices: list[str], stack: contextlib.ExitStack) -> Iterator[StoredLog]:
    for path in sorted(directory.glob(PATTERN)):
        try:
            log = StoredLog(path, notices)
        except (sqlite3.Error, ValueError, TypeError) as error:
            logger.warning("inference log: %s cannot be read: %s", path.name, error)
            notices.append(f"{path.name}: cannot be read: {error}")
            continue
        stack.callback(log.close)
        yield log


def _is_in(before: Cursor | None, log: StoredLog) -> bool:
    """Say whether a page has to look into a file: not if it was made after the first page."""
    return log.uuid != "" and (before is None or log.uuid in before.places)


def _choose(
    files: list[StoredLog],
    pipeline_id: int,
    limit: int,
    places: dict[str, Place],
    *,
    is_first: bool,
) -> tuple[list[tuple[Found, InferenceEntry]], bool]:
    """Return the page's inferences, newest first, and whether there are older ones.

    Args:
        places: Where the page begins in each file. For a first page it is set to where the log
            ends now: what is appended from now on is on no later page.
    """
    limit = min(limit, limits.LOG_READ_REQUESTS_MAX)

    def source(log: StoredLog) -> Iterator[Found]:
        start = None if is_first else places[log.uuid]
        for index, found in enumerate(log.inferences(pipeline_id, start)):
            if index == 0 and is_first:
                places[log.uuid] = Place(found.place.life, found.place.number + 1)
            yield found

    chosen: list[tuple[Found, InferenceEntry]] = []
    size = 0
    for found in merge(*map(source, files), key=Found.order, reverse=True):
        if len(chosen) >= limit or size >= limits.LOG_READ_BYTES_MAX:
            return chosen, True
        entry = found.file.decode(found)
        if isinstance(entry, InferenceEntry):
            chosen.append((found, entry))
            size += _size_of(entry)
    return chosen, False


def _join(
    files: list[StoredLog], pipeline_id: int, chosen: list[tuple[Found, InferenceEntry]]
) -> list[Record]:
    """Give each inference what its challengers did; fewer records where those are large."""
    seen: dict[tuple[str, Place, str], Found] = {}
    for log in files:
        wanted = {f.place: f.base for f, entry in chosen if f.file is log and entry.sampled}
        for (place, version), observed in log.observations(pipeline_id, wanted).items():
            seen[log.uuid, place, version] = observed
    records: list[Record] = []
    size = 0
    for found, entry in chosen:
        if size >= limits.LOG_READ_BYTES_MAX:
            break
        challengers = []
        for model in sorted(entry.sampled, key=lambda model: model.label):
            key = (found.file.uuid, found.place, model.uuid)
            observation = _observation(found, entry, model, seen.get(key))
            challengers.append(observation)
            size += sum(map(bytes_of, observation.outputs or ()))
        size += _size_of(entry)
        records.append(Record(entry=entry, challengers=tuple(challengers)))
    return records


def _size_of(entry: InferenceEntry) -> int:
    return sum(map(bytes_of, (*entry.inputs.values(), *(entry.champion.outputs or ()))))


def _observation(
    found: Found, entry: InferenceEntry, model: ServedModel, observed: Found | None
) -> Observation:
    logged = observed.file.decode(observed) if observed else None
    if isinstance(logged, ObservationEntry) and logged.request_id == entry.request_id:
        return logged.observation
    # Only the front that answered knows the outcome; with its life over, nobody does.
    is_lost = observed is None and found.place.life < found.file.life
    return Observation(model=model, status=Status.LOST if is_lost else Status.PENDING)
