"""Entries of one layout as two Arrow blobs, bit for bit; `views.py` reads them. Pure.

A group of entries becomes a few segments. One segment holds the requests of all entries that share
route, model, column names, types and shapes, so that a thousand requests are two record batches
and not two thousand. Each blob is an Arrow IPC stream of one batch, readable without gnomon:

    head   one row per request: its id, times, elapsed, and tensors that are not made of rows
    body   one row per input row: the inputs "in.<name>", the outputs "out.<name>", and what
           validations found, "anomaly.<name>"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gnomon.core.inference import InferenceEntry, ObservationEntry
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import STRING, Array, dtype_name
from gnomon.log import arrays
from gnomon.log.layouts import Column, Entry, Kind, Layout, body_schema, head_schema

NO_ENTRY = -1
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"

Numbered = tuple[int, Entry]  # with the number of its first request, counted in its group


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Requests of one kind, route, model and layout.

    Attributes:
        model: Index into `route.models()`: 0 is the champion.
        entries: How many requests.
        rows: Input rows of all requests.
        first_time_us: Earliest arrival (inferences) or end (observations).
        last_time_us: Latest.
        first_of: Smallest number of an inference that an observation belongs to; None if none.
        last_of: Largest.
    """

    kind: Kind
    route: Route
    model: int
    entries: int
    rows: int
    first_time_us: int
    last_time_us: int
    first_of: int | None
    last_of: int | None
    head: bytes
    body: bytes


def encode(entries: Sequence[Entry]) -> tuple[list[Segment], list[Exception]]:
    """Turn a group of entries into segments.

    Args:
        entries: In the order in which they were appended; those of inferences have a numbered
            ticket.

    Returns:
        The segments, and why an entry could not be encoded, for each such entry: one that holds
        what no model takes or gives does not keep the others from being kept.
    """
    buckets: dict[tuple[object, ...], list[Numbered]] = {}
    number = 0
    for entry in entries:
        key: tuple[object, ...]
        if isinstance(entry, InferenceEntry):
            champion = entry.champion
            key = (id(entry.route), id(champion.model), *entry.inputs)
            if champion.anomalies:
                key = (*key, None, *champion.anomalies)
        else:
            seen = entry.observation
            key = (id(entry.route), id(seen.model), seen.status, seen.code)
        buckets.setdefault(key, []).append((number, entry))
        number += len(entry.request_ids)
    segments: list[Segment] = []
    refused: list[Exception] = []
    for bucket in buckets.values():
        try:  # nearly always they are all alike; finding out costs more than trying
            segments.append(_segment(bucket))
        except Exception:
            _encode_apart(bucket, segments, refused)
    return segments, refused


def _encode_apart(
    bucket: Sequence[Numbered], segments: list[Segment], refused: list[Exception]
) -> None:
    """Encode entries of different layouts, each layout by itself, a bad entry by nobody."""
    alike: dict[Layout, list[Numbered]] = {}
    for numbered in bucket:
        try:
            alike.setdefault(Layout.of(numbered[1]), []).append(numbered)
        except Exception as error:
            refused.append(error)
    for several in alike.values():
        try:
            segments.append(_segment(several))
        except Exception:
            for numbered in several:
                try:
                    segments.append(_segment([numbered]))
                except Exception as error:
                    refused.append(error)


@dataclass(slots=True)
class _Requests:
    """What a segment holds of each of its requests, and the tensors of each of its entries.

    Attributes:
        model: Index into `route.models()` of the one that ran.
        times_us: Of arrival (inferences) or end (observations).
        integers: The columns of the head between the request's id and the last one.
        last: The last fixed column of the head.
        tensors: For each entry those that its layout names.
        observed: Of the inferences that were observed, the smallest and largest number, or more.
    """

    model: int
    ids: list[str]
    times_us: list[int]
    integers: tuple[list[int], ...]
    last: pa.Array
    tensors: list[tuple[Array, ...]]
    observed: list[int]


def _inferences(entries: Sequence[InferenceEntry]) -> _Requests:
    ids: list[str] = []
    numbers: tuple[list[int], ...] = ([], [], [], [], [])
    times_us, rows, elapsed, ended, sampled = numbers
    tensors = []
    for entry in entries:
        count = len(entry.request_ids)
        champion = entry.champion
        ids += entry.request_ids
        times_us += entry.times_us
        rows += entry.rows
        sampled += entry.sampled
        elapsed += [champion.elapsed_ns] * count
        ended += [champion.time_us] * count
        several = (*entry.inputs.values(), *(champion.outputs or ()))
        if champion.anomalies:
            several = (*several, *(array for _, array in sorted(champion.anomalies.items())))
        tensors.append(several)
    masks = arrays.numbers(sampled, "uint64", len(sampled))
    return _Requests(0, ids, times_us, (times_us, rows, elapsed, ended), masks, tensors, [])


def _observations(entries: Sequence[ObservationEntry]) -> _Requests:
    ids: list[str] = []
    numbers: tuple[list[int], ...] = ([], [], [], [], [])
    of, rows, elapsed, ended, observed = numbers
    errors: list[str | None] = []
    tensors = []
    for entry in entries:
        count = len(entry.request_ids)
        seen = entry.observation
        ids += entry.request_ids
        rows += entry.rows
        elapsed += [seen.elapsed_ns] * count
        ended += [seen.time_us] * count
        errors += [seen.error] * count
        first = entry.ticket.number
        if first is None:
            of += [NO_ENTRY] * count
        else:
            of += [first + position for position in entry.positions]
            observed += (first + min(entry.positions), first + max(entry.positions))
        tensors.append(seen.outputs or ())
    model = _index_of(entries[0].observation.model, entries[0].route)
    last = arrays.texts_or_null(errors)
    return _Requests(model, ids, ended, (of, rows, elapsed, ended), last, tensors, observed)


def _segment(bucket: Sequence[Numbered]) -> Segment:
    """Encode entries of one bucket.

    Raises:
        Exception: They do not all have the layout of the first, or hold what cannot be encoded.
    """
    entries = [entry for _, entry in bucket]
    first = entries[0]
    layout = Layout.of(first)
    inferences = [entry for entry in entries if isinstance(entry, InferenceEntry)]
    observations = [entry for entry in entries if isinstance(entry, ObservationEntry)]
    requests = _inferences(inferences) if inferences else _observations(observations)
    numbers: list[int] = []
    for number, entry in bucket:
        numbers += range(number, number + len(entry.request_ids))
    count = len(numbers)
    head = [
        arrays.numbers(numbers, "int32", count),
        arrays.texts(requests.ids),
        *(arrays.numbers(values, "int64", len(values)) for values in requests.integers),
        requests.last,
    ]
    body: list[pa.Array] = []
    rows = [sum(entry.rows) for entry in entries]
    tensors = zip(*requests.tensors, strict=True)
    for column, values in zip(layout.tensors(), tensors, strict=True):
        stored = _join(column, values, rows)
        if column.is_stored:
            (body if column.per_row else head).append(stored)
    return Segment(
        kind=layout.kind,
        route=first.route,
        model=requests.model,
        entries=count,
        rows=sum(rows),
        first_time_us=min(requests.times_us),
        last_time_us=max(requests.times_us),
        first_of=min(requests.observed, default=None),
        last_of=max(requests.observed, default=None),
        head=_stream(head_schema(layout), head),
        body=_stream(body_schema(layout), body) if body else b"",
    )


def _index_of(model: ServedModel, route: Route) -> int:
    return [(each.uuid, each.label) for each in route.models()].index((model.uuid, model.label))


def _join(column: Column, values: Sequence[Array], rows: list[int]) -> pa.Array | None:
    """Join one tensor of all entries to an Arrow column; None if there is nothing to store.

    Raises:
        Exception: The tensors are not all as `column` says.
    """
    if column.per_row and list(map(len, values)) != rows:
        raise ValueError("a first axis that is not the row")
    if column.dtype == STRING or not column.is_stored:
        for array in values:
            shape = array.shape[1:] if column.per_row else array.shape
            if shape != column.shape or dtype_name(array) != column.dtype:
                raise ValueError("different layouts")
        if not column.is_stored:
            return None
        flat: list[str] = []
        for array in values:
            flat.extend(array.reshape(-1).tolist())
        count = sum(rows) if column.per_row else len(values)
        return arrays.tensors(flat, STRING, column.shape, count)
    join = np.concatenate if column.per_row else np.stack
    joined = join(values, dtype=column.dtype, casting="equiv")
    if joined.shape[1:] != column.shape:
        raise ValueError("different layouts")
    return arrays.tensors(np.ascontiguousarray(joined), column.dtype, column.shape, joined.shape[0])


def _stream(schema: tuple[pa.Schema, bytes], columns: list[pa.Array]) -> bytes:
    """Return an Arrow IPC stream of one batch; its schema message is made once per layout."""
    batch = pa.RecordBatch.from_arrays(columns, schema=schema[0])
    return b"".join((schema[1], batch.serialize(), _END_OF_STREAM))
