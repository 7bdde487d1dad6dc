"""The requests that stand in a pipeline's tables, read back as they were logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from heapq import merge

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gnomon.core.inference import Observation, Status
from gnomon.core.routing import ServedModel
from gnomon.core.tensors import Array
from gnomon.log import arrays, parquet
from gnomon.log.blobs import Blobs
from gnomon.log.candidates import Candidate
from gnomon.log.columns import ReferenceColumn, TensorColumn, table_name
from gnomon.log.layouts import Column, as_it_ran
from gnomon.log.logged import LoggedInference
from gnomon.log.query import LogQuery
from gnomon.log.records import Record
from gnomon.log.table import DataFile, LogTable
from gnomon.log.tables import LogTables
from gnomon.log.units import ANOMALIES, DESCRIPTION, PLACE, REQUEST_ID, ROW, ROWS, TIME, prefix_of

_KEYS = [TIME, PLACE, ROW, ROWS, DESCRIPTION, REQUEST_ID, ANOMALIES]
_UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError)

Note = Callable[[str], None]


def kept(
    tables: LogTables, log: str, span: tuple[int, int], query: LogQuery, note: Note
) -> Iterator[Candidate]:
    """Yield the requests of one write-ahead that have moved, in the order of their places.

    Args:
        span: Packed places: from the first up to, not with, the second.
        note: Takes a sentence about each thing that cannot be read.
    """
    span = span[0], min(span[1], tables.moved(log))
    each = [
        _Reading(table, tables.blobs, log, span, query, note).run() for table in tables.generations
    ]
    yield from merge(*each, key=lambda found: found.place, reverse=not query.oldest_first)


class _Reading:
    """Reads one generation, a row group at a time."""

    def __init__(
        self,
        table: LogTable,
        blobs: Blobs,
        log: str,
        span: tuple[int, int],
        query: LogQuery,
        note: Note,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._log = log
        self._first, self._end = span
        self._query = query
        self._note = note
        self._cut: pa.Table | None = None  # rows of a request that goes on in the next group

    def run(self) -> Iterator[Candidate]:
        files = [
            file
            for file in self._table.files()
            if file.log == self._log
            and file.first < self._end
            and file.last >= self._first
            and self._query.overlaps(file.first_us, file.last_us)
        ]
        for file in files if self._query.oldest_first else files[::-1]:
            try:
                yield from self._read(file)
            except _UNREADABLE as error:
                self._note(f"{file.path.name}: cannot be read: {type(error).__name__}")

    def _read(self, file: DataFile) -> Iterator[Candidate]:
        with parquet.opened(file.path) as source:
            groups = [each for each in _spans(source.metadata) if self._touches(*each[1:])]
            for group, *_ in groups if self._query.oldest_first else reversed(groups):
                keys = source.read_row_group(group, columns=_KEYS)
                places = arrays.column_values(keys, PLACE)
                times = arrays.column_values(keys, TIME)
                at = -1 if self._query.oldest_first else 0
                chosen = self._chosen(keys, places, times)
                if self._query.valid is not None:
                    chosen &= self._query.takes_anomalies(keys.column(ANOMALIES).to_numpy())
                if chosen.any():
                    yield from self._requests(source.read_row_group(group))
                    if self._query.is_of_rows:
                        # How far it was looked: up to a request that goes on in the next group.
                        cut = 0 if self._cut is None else -1 if self._query.oldest_first else 1
                        yield Candidate(self._log, int(places[at]) + cut, int(times[at]), None)
                elif len(places):
                    self._cut = None
                    yield Candidate(self._log, int(places[at]), int(times[at]), None)

    def _touches(self, places: tuple[int, int], times_us: tuple[int, int]) -> bool:
        """Say whether rows of these bounds may be wanted."""
        is_in_span = places[0] < self._end and places[1] >= self._first
        return is_in_span and self._query.overlaps(*times_us)

    def _chosen(self, keys: pa.Table, places: Array, times: Array) -> Array:
        """Say for each row whether its request is wanted."""
        query = self._query
        chosen: Array = (places >= self._first) & (places < self._end)
        if query.start_us is not None:
            chosen &= times >= query.start_us
        if query.end_us is not None:
            chosen &= times < query.end_us
        if query.request_id is not None:
            chosen &= arrays.is_text(keys, REQUEST_ID, [query.request_id])
        if query.status is not None or query.model is not None:
            digests = keys.column(DESCRIPTION).unique().to_pylist()
            wanted = [each for each in digests if query.takes_models(self._statuses(each))]
            chosen &= arrays.is_text(keys, DESCRIPTION, wanted)
        return chosen

    def _statuses(self, digest: str) -> dict[str, Status]:
        description = self._table.description(digest)
        statuses = {each.model.label: each.status for each in description.outcomes}
        return {description.route.champion.label: Status.OK, **statuses}

    def _requests(self, group: pa.Table) -> Iterator[Candidate]:
        rows = self._whole(group)
        places, times, counts, row = (
            arrays.column_values(rows, name) for name in (PLACE, TIME, ROWS, ROW)
        )
        begins = np.flatnonzero(row == 0)
        chosen = self._chosen(rows, places, times)[begins]
        if self._query.is_of_rows and len(begins):
            chosen &= np.logical_or.reduceat(self._query.takes_rows(rows), begins)
        starts = begins[chosen]
        decoded = _Group(rows, self._blobs)
        for start in starts if self._query.oldest_first else starts[::-1]:
            count = int(counts[start])
            found = _Found(self._table, decoded, int(start), count)
            if start + max(count, 1) > len(places):
                self._note(f"request {found.text(REQUEST_ID)}: a part of it is missing")
                continue
            yield Candidate(
                self._log, int(places[start]), int(times[start]), partial(self._record, found)
            )

    def _record(self, found: _Found) -> Record | None:
        try:
            return found.record()
        except _UNREADABLE as error:
            what = error.strerror if isinstance(error, OSError) else error  # without the path
            self._note(f"request {found.text(REQUEST_ID)}: cannot be read: {what}")
            return None

    def _whole(self, group: pa.Table) -> pa.Table:
        """Return rows of whole requests; keep those of one that is cut by the group's end."""
        parts = [group] if self._cut is None else [group, self._cut]
        rows = pa.concat_tables(parts[::-1] if self._query.oldest_first else parts)
        begins = np.flatnonzero(arrays.column_values(rows, ROW) == 0)
        self._cut = None
        if self._query.oldest_first:
            last = int(begins[-1]) if len(begins) else 0
            if rows.num_rows - last < arrays.column_values(rows, ROWS)[last]:
                self._cut, rows = rows.slice(last), rows.slice(0, last)
        elif not len(begins) or begins[0] > 0:
            first = int(begins[0]) if len(begins) else rows.num_rows
            self._cut, rows = rows.slice(0, first), rows.slice(first)
        return rows


class _Group:
    """The rows of a row group; a column is decoded when the first request asks for it."""

    def __init__(self, rows: pa.Table, blobs: Blobs) -> None:
        self._rows = rows.combine_chunks()
        self._blobs = blobs
        self._integers: dict[str, list[int]] = {}
        self._texts: dict[str, pa.Array] = {}
        self._tensors: dict[tuple[str, Column], TensorColumn | ReferenceColumn] = {}

    def integer(self, name: str, row: int) -> int:
        """Return an integer, or a time in microseconds; 0 for null."""
        known = self._integers.get(name)
        if known is None:
            values = self._column(name).cast(pa.int64()).fill_null(0)
            known = self._integers[name] = values.to_numpy().tolist()
        return known[row]

    def text(self, name: str, row: int) -> str | None:
        """Return a text."""
        known = self._texts.get(name)
        if known is None:
            known = self._texts[name] = self._column(name)
        text: str | None = known[row].as_py()
        return text

    def tensor(self, name: str, column: Column, row: int, rows: int) -> Array:
        """Return the tensor of the request that begins in a row."""
        known = self._tensors.get((name, column))
        if known is None:
            values = self._column(name)
            known = self._tensors[name, column] = (
                ReferenceColumn(column, values, self._blobs.tensor)
                if column.apart
                else TensorColumn(column, values)
            )
        return known.tensor(row, rows)

    def _column(self, name: str) -> pa.Array:
        chunks = self._rows.column(name).chunks
        return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _spans(
    metadata: pq.FileMetaData,
) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Yield each row group of a file, with the bounds of its places and times."""
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        columns = {found.column(n).path_in_schema: n for n in range(found.num_columns)}
        bounds = (found.column(columns[name]).statistics for name in (PLACE, TIME))
        places, times = ((each.min_raw, each.max_raw) for each in bounds)
        yield group, places, times


@dataclass(frozen=True, slots=True)
class _Found:
    """One request in a row group."""

    table: LogTable
    group: _Group
    start: int
    rows: int

    def record(self) -> Record:
        """Decode the request.

        Raises:
            OSError, ValueError, KeyError, TypeError, IndexError: It is not what was written.
        """
        description = self.table.description(self.text(DESCRIPTION) or "")
        route = description.route
        seen = {each.model.label for each in description.outcomes}
        champion = self._observation(route.champion, Status.OK, "", description.outputs)
        return Record(
            entry=LoggedInference(
                request_id=self.text(REQUEST_ID) or "",
                time_us=self.group.integer(TIME, self.start),
                rows=self.rows,
                route=route,
                inputs={
                    each.name.removeprefix("in."): self._tensor("in", each)
                    for each in description.inputs
                },
                champion=replace(
                    champion,
                    anomalies={
                        each.name.removeprefix("anomaly."): self._tensor("anomaly", each)
                        for each in description.anomalies
                    },
                ),
                sampled=tuple(model for model in route.challengers if model.label in seen),
            ),
            challengers=tuple(
                self._observation(each.model, each.status, each.code, each.outputs)
                for each in description.outcomes
            ),
        )

    def text(self, name: str) -> str | None:
        """Return a text of the request's first row."""
        return self.group.text(name, self.start)

    def _observation(
        self, model: ServedModel, status: Status, code: str, outputs: tuple[Column, ...]
    ) -> Observation:
        prefix = prefix_of(model)
        is_ok = status is Status.OK
        tensors = tuple(self._tensor(prefix, each) for each in outputs)
        return Observation(
            model=as_it_ran(model, outputs),
            status=status,
            outputs=tensors if is_ok else None,
            error=None if is_ok else self.text(f"metadata.{prefix}.error"),
            elapsed_ns=self.group.integer(f"metadata.{prefix}.elapsed_ns", self.start),
            time_us=self.group.integer(f"metadata.{prefix}.ended", self.start),
            code=code or "inference_failed",
        )

    def _tensor(self, prefix: str, column: Column) -> Array:
        return self.group.tensor(table_name(column, prefix), column, self.start, self.rows)
