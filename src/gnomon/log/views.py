"""Segments as they are read: an entry is decoded when it is asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import accumulate
from math import prod

import numpy as np
import pyarrow as pa

from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status
from gnomon.core.routing import Route
from gnomon.core.tensors import STRING, Array
from gnomon.log import arrays
from gnomon.log.layouts import LAYOUT_KEY, Column, Entry, Kind, Layout, body_schema, head_schema
from gnomon.log.segments import Segment

# What reading bytes that are no segment can raise; all of it becomes DamagedSegment.
_UNREADABLE = (pa.ArrowException, ValueError, TypeError, KeyError, IndexError, OSError)


class DamagedSegment(ValueError):
    """A blob is not what was written."""


class SegmentView:
    """One segment; decodes only the entries that are asked for.

    Args:
        route: Of all its entries.
        model: Index into `route.models()`.
        head: The head's bytes, checked against their checksum.
        body: Gives the body's bytes, checked; called when the first tensor is asked for. May
            raise DamagedSegment.

    Attributes:
        layout: What the entries share.
        numbers: Of each entry, counted from its group's first; ascending.

    Raises:
        DamagedSegment: The head is not what was written.
    """

    def __init__(self, route: Route, model: int, head: bytes, body: Callable[[], bytes]) -> None:
        self.route = route
        self._body_bytes = body
        try:
            self._head = _batch(head)
            self.layout = Layout.from_json(self._head.schema.metadata[LAYOUT_KEY])
            _check(self._head, head_schema(self.layout)[0])
            self.model = route.models()[model]
            self.numbers = self._integers("number", "int32")
            self._rows = self._integers("rows", "int64")
        except _UNREADABLE as error:
            raise DamagedSegment(f"unreadable head: {error}") from error
        self._row_ends = list(accumulate(self._rows, initial=0))

    @classmethod
    def of_segment(cls, segment: Segment) -> SegmentView:
        """View a segment that is in memory."""
        return cls(segment.route, segment.model, segment.head, lambda: segment.body)

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def of(self) -> list[int]:
        """Number of the inference that each observation belongs to, or `NO_ENTRY`."""
        return self._integers("of", "int64")

    @cached_property
    def times_us(self) -> list[int]:
        """When each inference's request arrived."""
        return self._integers("time_us", "int64")

    def entry(self, index: int) -> Entry:
        """Decode one entry; its arrays are read-only views, but for strings and booleans.

        Raises:
            DamagedSegment: The segment is not what was written.
        """
        try:
            if self.layout.kind is Kind.OBSERVATION:
                return self._observation(index)
            return self._inference(index)
        except DamagedSegment:
            raise
        except _UNREADABLE as error:
            raise DamagedSegment(f"unreadable entry: {error}") from error

    def _inference(self, index: int) -> InferenceEntry:
        inputs, outputs = self._tensors(index)
        names = [column.name.removeprefix("in.") for column in self.layout.inputs]
        mask = self._sampled[index]
        challengers = enumerate(self.route.challengers)
        return InferenceEntry(
            request_id=self._text("request_id", index) or "",
            time_us=self.times_us[index],
            route=self.route,
            inputs=dict(zip(names, inputs, strict=True)),
            rows=self._rows[index],
            champion=Observation(
                model=self.model,
                status=Status.OK,
                outputs=outputs,
                elapsed_ns=self._elapsed_ns[index],
                time_us=self._ended_us[index],
            ),
            sampled=tuple(model for bit, model in challengers if mask >> bit & 1),
        )

    def _observation(self, index: int) -> ObservationEntry:
        _, outputs = self._tensors(index)
        status = self.layout.status
        seen = Observation(
            model=self.model,
            status=status,
            outputs=outputs if status is Status.OK else None,
            error=self._text("error", index),
            elapsed_ns=self._elapsed_ns[index],
            time_us=self._ended_us[index],
            code=self.layout.code,
        )
        return ObservationEntry(
            request_id=self._text("request_id", index) or "",
            route=self.route,
            rows=self._rows[index],
            observation=seen,
        )

    def _tensors(self, index: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return one entry's inputs and outputs."""
        columns = (*self.layout.inputs, *self.layout.outputs)
        tensors = tuple(
            self._tensor(column, values, index)
            for column, values in zip(columns, self._values, strict=True)
        )
        return tensors[: len(self.layout.inputs)], tensors[len(self.layout.inputs) :]

    def _tensor(self, column: Column, values: Array, index: int) -> Array:
        shape, start, end = column.shape, index, index + 1
        if column.per_row:
            start, end = self._row_ends[index : index + 2]
            shape = (end - start, *shape)
        if not column.is_stored:
            return np.empty(shape, dtype=_numpy_type(column.dtype))
        size = prod(column.shape)
        return values[start * size : end * size].reshape(shape)

    @cached_property
    def _values(self) -> list[Array]:
        """The flat values of each input and output, of all entries."""
        parts = {False: self._head, True: None}
        stored = {per_row: self.layout.columns(per_row=per_row) for per_row in (False, True)}
        if stored[True]:
            parts[True] = _batch(self._body_bytes())
            _check(parts[True], body_schema(self.layout)[0])
            if parts[True].num_rows != self._row_ends[-1]:
                raise DamagedSegment("head and body disagree")
        # The tensors are the last columns of the head, and all columns of the body.
        sources = {
            per_row: iter(parts[per_row].columns[-len(columns) :])
            for per_row, columns in stored.items()
            if columns
        }
        return [
            arrays.values_of(next(sources[column.per_row]), column.dtype)
            if column.is_stored
            else np.empty(0, dtype=_numpy_type(column.dtype))
            for column in (*self.layout.inputs, *self.layout.outputs)
        ]

    @cached_property
    def _sampled(self) -> list[int]:
        return self._integers("sampled", "uint64")

    @cached_property
    def _elapsed_ns(self) -> list[int]:
        return self._integers("elapsed_ns", "int64")

    @cached_property
    def _ended_us(self) -> list[int]:
        return self._integers("ended_us", "int64")

    def _integers(self, name: str, dtype: str) -> list[int]:
        values: list[int] = arrays.values_of(self._head.column(name), dtype).tolist()
        return values

    def _text(self, name: str, index: int) -> str | None:
        text: str | None = self._head.column(name)[index].as_py()
        return text


def decode(segment: Segment) -> list[tuple[int, Entry]]:
    """Return what was encoded: each entry with its place in the group.

    Raises:
        DamagedSegment: The segment is not what was written.
    """
    view = SegmentView.of_segment(segment)
    return [(number, view.entry(index)) for index, number in enumerate(view.numbers)]


def _batch(stream: bytes) -> pa.RecordBatch:
    batch = pa.ipc.open_stream(stream).read_next_batch()
    batch.validate(full=True)
    return batch


def _check(batch: pa.RecordBatch, expected: pa.Schema) -> None:
    if not batch.schema.equals(expected):
        raise ValueError("another schema")


def _numpy_type(dtype: str) -> np.dtype[np.generic]:
    return np.dtype(object if dtype == STRING else dtype)
