"""Entries of one layout as two Arrow blobs, bit for bit; `views.py` reads them. Pure.

A group of entries becomes a few segments. One segment holds the entries that share route, model,
column names, types and shapes, so that a thousand requests are two record batches and not two
thousand. Each blob is an Arrow IPC stream of one batch, readable without gnomon:

    head   one row per entry: request id, times, elapsed, and tensors that are not made of rows
    body   one row per input row: the inputs "in.<name>" and the outputs "out.<name>"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pyarrow as pa

from gnomon.core.inference import InferenceEntry
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import STRING, Array, dtype_name
from gnomon.log import arrays
from gnomon.log.layouts import Column, Entry, Kind, Layout, body_schema, head_schema

NO_ENTRY = -1
_INFERENCE_PARTS = attrgetter(
    "request_id",
    "rows",
    "time_us",
    "sampled",
    "inputs",
    "champion.elapsed_ns",
    "champion.time_us",
    "champion.outputs",
)
_OBSERVATION_PARTS = attrgetter(
    "request_id",
    "rows",
    "observation.elapsed_ns",
    "observation.time_us",
    "observation.error",
    "observation.outputs",
)
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Entries of one kind, route, model and layout.

    Attributes:
        model: Index into `route.models()`: 0 is the champion.
        entries: How many.
        rows: Input rows of all entries.
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


def encode(
    entries: Sequence[Entry], of: Sequence[int] = ()
) -> tuple[list[Segment], list[Exception]]:
    """Turn a group of entries into segments.

    Args:
        entries: In the order in which they were appended.
        of: For each entry the number of the inference that it observes, or `NO_ENTRY`; empty if
            that is so for all.

    Returns:
        The segments, and why an entry could not be encoded, for each such entry: one that holds
        what no model takes or gives does not keep the others from being kept.
    """
    buckets: dict[tuple[object, ...], list[int]] = {}
    for index, entry in enumerate(entries):
        key: tuple[object, ...]
        if isinstance(entry, InferenceEntry):
            key = (id(entry.route), *entry.inputs)
        else:
            seen = entry.observation
            key = (id(entry.route), id(seen.model), seen.status, seen.code)
        bucket = buckets.get(key)
        if bucket is None:
            buckets[key] = [index]
        else:
            bucket.append(index)
    segments: list[Segment] = []
    refused: list[Exception] = []
    for bucket in buckets.values():
        try:  # nearly always they are all alike; finding out costs more than trying
            segments.append(_segment(entries, bucket, of))
        except Exception:
            _encode_apart(entries, bucket, of, segments, refused)
    return segments, refused


def _encode_apart(
    entries: Sequence[Entry],
    bucket: Sequence[int],
    of: Sequence[int],
    segments: list[Segment],
    refused: list[Exception],
) -> None:
    """Encode entries of different layouts, each layout by itself, a bad entry by nobody."""
    alike: dict[Layout, list[int]] = {}
    for index in bucket:
        try:
            alike.setdefault(Layout.of(entries[index]), []).append(index)
        except Exception as error:
            refused.append(error)
    for indices in alike.values():
        try:
            segments.append(_segment(entries, indices, of))
        except Exception:
            for index in indices:
                try:
                    segments.append(_segment(entries, [index], of))
                except Exception as error:
                    refused.append(error)


def _segment(entries: Sequence[Entry], indices: Sequence[int], of: Sequence[int]) -> Segment:
    """Encode entries of one bucket.

    Raises:
        Exception: They do not all have the layout of the first, or hold what cannot be encoded.
    """
    chosen = [entries[index] for index in indices]
    first = chosen[0]
    layout = Layout.of(first)
    tensors: list[tuple[Array, ...]] = []
    targets: list[int] = []
    model = 0
    # One walk over the entries, since they are spread over more memory than a cache holds.
    if isinstance(first, InferenceEntry):
        ids, rows, times, sampled, inputs, elapsed, ended, outputs = zip(
            *map(_INFERENCE_PARTS, chosen), strict=True
        )
        integers: tuple[Sequence[int], ...] = (times, rows, elapsed, ended)
        masks = _masks(sampled, first.route)
        last = arrays.numbers(masks, "uint64", len(masks))
        tensors += zip(*(columns.values() for columns in inputs), strict=True)
    else:
        ids, rows, elapsed, times, errors, outputs = zip(
            *map(_OBSERVATION_PARTS, chosen), strict=True
        )
        targets = [of[index] for index in indices] if of else [NO_ENTRY] * len(chosen)
        integers = (targets, rows, elapsed, times)
        last = arrays.texts_or_null(errors)
        model = _index_of(first.observation.model, first.route)
    tensors += zip(*(each or () for each in outputs), strict=True)
    head = [
        arrays.numbers(indices, "int32", len(indices)),
        arrays.texts(ids),
        *(arrays.numbers(values, "int64", len(values)) for values in integers),
        last,
    ]
    body: list[pa.Array] = []
    for column, values in zip((*layout.inputs, *layout.outputs), tensors, strict=True):
        stored = _join(column, values, rows)
        if column.is_stored:
            (body if column.per_row else head).append(stored)
    known = [target for target in targets if target != NO_ENTRY]
    return Segment(
        kind=layout.kind,
        route=first.route,
        model=model,
        entries=len(chosen),
        rows=sum(rows),
        first_time_us=min(times),
        last_time_us=max(times),
        first_of=min(known, default=None),
        last_of=max(known, default=None),
        head=_stream(head_schema(layout), head),
        body=_stream(body_schema(layout), body) if body else b"",
    )


def _masks(sampled: Sequence[tuple[ServedModel, ...]], route: Route) -> list[int]:
    """Return for each entry which of the route's challengers were sampled, as bits."""
    bit = {model.uuid: 1 << index for index, model in enumerate(route.challengers)}
    masks: dict[int, int] = {}  # by identity: nearly all entries have the same tuple
    for models in sampled:
        if id(models) not in masks:
            masks[id(models)] = sum(bit[model.uuid] for model in models)
    return [masks[id(models)] for models in sampled]


def _index_of(model: ServedModel, route: Route) -> int:
    return [each.uuid for each in route.models()].index(model.uuid)


def _join(column: Column, values: Sequence[Array], rows: tuple[int, ...]) -> pa.Array | None:
    """Join one tensor of all entries to an Arrow column; None if there is nothing to store.

    Raises:
        Exception: The tensors are not all as `column` says.
    """
    if column.per_row and tuple(map(len, values)) != rows:
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
