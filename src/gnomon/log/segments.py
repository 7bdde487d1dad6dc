"""Entries of one layout as two Arrow blobs, bit for bit; `views.py` reads them. Pure.

A group of entries becomes a few segments. One segment holds the requests of all entries that share
route, model, column names, types and shapes, so that a thousand requests are two record batches
and not two thousand. Each blob is an Arrow IPC stream of one batch, readable without gnomon:

    head   one row per request: its id, times, elapsed, and tensors that are not made of rows
    body   one row per input row: the inputs "in.<name>", the outputs "out.<name>", and what
           validations found, "anomaly.<name>"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from gnomon.core import limits
from gnomon.core.inference import InferenceEntry, ObservationEntry
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import STRING, Array, dtype_name
from gnomon.log import arrays
from gnomon.log.layouts import Column, Entry, Kind, Layout, body_schema, head_schema

NO_ENTRY = -1
_LARGE_BYTES = 64 * limits.KIB
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
    head: bytes | pa.Buffer
    body: bytes | pa.Buffer


def encode(
    entries: Sequence[Entry], breathe: Callable[[], None] = lambda: None
) -> tuple[list[Segment], list[Exception]]:
    """Turn a group of entries into segments.

    Args:
        entries: In the order in which they were appended; those of inferences have a numbered
            ticket.
        breathe: Called often, between pieces of work that take some microseconds.

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
        breathe()
    segments: list[Segment] = []
    refused: list[Exception] = []
    for bucket in buckets.values():
        try:  # nearly always they are all alike; finding out costs more than trying
            segments.append(_segment(bucket, breathe))
        except Exception:
            _encode_apart(bucket, segments, refused, breathe)
    return segments, refused


def _encode_apart(
    bucket: Sequence[Numbered],
    segments: list[Segment],
    refused: list[Exception],
    breathe: Callable[[], None],
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
            segments.append(_segment(several, breathe))
        except Exception:
            for numbered in several:
                try:
                    segments.append(_segment([numbered], breathe))
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
    times_us: Array
    integers: tuple[Array, ...]
    last: pa.Array
    tensors: list[tuple[Array, ...]]
    observed: list[int]


def _inferences(
    entries: Sequence[InferenceEntry], counts: Array, breathe: Callable[[], None]
) -> _Requests:
    times_us = _chained([entry.times_us for entry in entries], "int64")
    breathe()
    rows = _chained([entry.rows for entry in entries], "int64")
    masks = _chained([entry.sampled for entry in entries], "uint64")
    breathe()
    champions = [entry.champion for entry in entries]
    elapsed = np.repeat([champion.elapsed_ns for champion in champions], counts)
    ended = np.repeat([champion.time_us for champion in champions], counts)
    breathe()
    tensors = [
        (*entry.inputs.values(), *(champion.outputs or ()))
        for entry, champion in zip(entries, champions, strict=True)
    ]
    if champions[0].anomalies:
        tensors = [
            (*several, *(array for _, array in sorted(champion.anomalies.items())))
            for several, champion in zip(tensors, champions, strict=True)
        ]
    last = arrays.integers(masks)
    return _Requests(0, times_us, (times_us, rows, elapsed, ended), last, tensors, [])


def _observations(
    entries: Sequence[ObservationEntry], counts: Array, breathe: Callable[[], None]
) -> _Requests:
    rows = _chained([entry.rows for entry in entries], "int64")
    seen = [entry.observation for entry in entries]
    elapsed = np.repeat([each.elapsed_ns for each in seen], counts)
    ended = np.repeat([each.time_us for each in seen], counts)
    breathe()
    of: list[int] = []
    observed: list[int] = []
    errors: list[str | None] = []
    for entry, count in zip(entries, counts.tolist(), strict=True):
        errors += [entry.observation.error] * count
        first = entry.ticket.number
        if first is None:
            of += [NO_ENTRY] * count
        else:
            of += [first + position for position in entry.positions]
            observed += (first + min(entry.positions), first + max(entry.positions))
        breathe()
    model = _index_of(seen[0].model, entries[0].route)
    last = arrays.texts_or_null(errors)
    tensors = [each.outputs or () for each in seen]
    integers = (np.array(of, dtype=np.int64), rows, elapsed, ended)
    return _Requests(model, ended, integers, last, tensors, observed)


def _segment(bucket: Sequence[Numbered], breathe: Callable[[], None]) -> Segment:
    """Encode entries of one bucket.

    Raises:
        Exception: They do not all have the layout of the first, or hold what cannot be encoded.
    """
    entries = [entry for _, entry in bucket]
    first = entries[0]
    layout = Layout.of(first)
    counts = np.array([len(entry.request_ids) for entry in entries])
    inferences = [entry for entry in entries if isinstance(entry, InferenceEntry)]
    observations = [entry for entry in entries if isinstance(entry, ObservationEntry)]
    breathe()
    if inferences:
        requests = _inferences(inferences, counts, breathe)
    else:
        requests = _observations(observations, counts, breathe)
    breathe()
    ids = arrays.texts([each for entry in entries for each in entry.request_ids])
    numbers = _counted_from(np.array([number for number, _ in bucket]), counts)
    breathe()
    head = [
        arrays.integers(numbers.astype(np.int32)),
        ids,
        *map(arrays.integers, requests.integers),
        requests.last,
    ]
    body: list[pa.Array] = []
    rows = [sum(entry.rows) for entry in entries]
    tensors = zip(*requests.tensors, strict=True)
    for column, values in zip(layout.tensors(), tensors, strict=True):
        breathe()
        stored = _join(column, values, rows)
        if column.is_stored:
            (body if column.per_row else head).append(stored)
    breathe()
    return Segment(
        kind=layout.kind,
        route=first.route,
        model=requests.model,
        entries=len(numbers),
        rows=sum(rows),
        first_time_us=int(requests.times_us.min()),
        last_time_us=int(requests.times_us.max()),
        first_of=min(requests.observed, default=None),
        last_of=max(requests.observed, default=None),
        head=_stream(head_schema(layout), head),
        body=_stream(body_schema(layout), body) if body else b"",
    )


def _chained(several: Sequence[Sequence[int]], dtype: str) -> Array:
    """Return the integers of all entries, one after the other."""
    return np.array([each for one in several for each in one], dtype=dtype)


def _counted_from(firsts: Array, counts: Array) -> Array:
    """Return the number of each request: an entry's are counted from that of its first one."""
    starts = np.cumsum(counts) - counts
    numbers: Array = np.arange(counts.sum()) + np.repeat(firsts - starts, counts)
    return numbers


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


def _stream(schema: tuple[pa.Schema, bytes], columns: list[pa.Array]) -> bytes | pa.Buffer:
    """Return an Arrow IPC stream of one batch; its schema message is made once per layout."""
    batch = pa.RecordBatch.from_arrays(columns, schema=schema[0])
    size = len(schema[1]) + ipc.get_record_batch_size(batch) + len(_END_OF_STREAM)
    if size < _LARGE_BYTES:
        return b"".join((schema[1], batch.serialize(), _END_OF_STREAM))
    stream = pa.allocate_buffer(size)  # the same bytes, copied once less
    with ipc.new_stream(pa.FixedSizeBufferWriter(stream), schema[0]) as writer:
        writer.write_batch(batch)
    return stream
