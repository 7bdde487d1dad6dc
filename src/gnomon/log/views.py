"""Segments as they are read: a request is decoded when it is asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import accumulate
from math import prod

import numpy as np
import pyarrow as pa

from gnomon.core.inference import Observation, Status
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import STRING, Array
from gnomon.log import arrays
from gnomon.log.columns import stored_column
from gnomon.log.layouts import (
    LAYOUT_KEY,
    Column,
    Kind,
    Layout,
    as_it_ran,
    body_schema,
    head_schema,
)
from gnomon.log.logged import LoggedInference, LoggedObservation
from gnomon.log.segments import Segment

# What reading bytes that are no segment can raise; all of it becomes DamagedSegment.
_UNREADABLE = (pa.ArrowException, ValueError, TypeError, KeyError, IndexError, OSError)


class DamagedSegment(ValueError):
    """A blob is not what was written."""


class SegmentView:
    """One segment; decodes only the requests that are asked for.

    Args:
        route: Of all its requests.
        model: Index into `route.models()`.
        head: The head's bytes, checked against their checksum.
        body: Gives the body's bytes, checked; called when the first tensor is asked for. May
            raise DamagedSegment.

    Attributes:
        layout: What the requests share.
        numbers: Of each request, counted from its group's first; ascending.
        row_counts: Input rows of each request.

    Raises:
        DamagedSegment: The head is not what was written.
    """

    def __init__(self, route: Route, model: int, head: bytes, body: Callable[[], bytes]) -> None:
        self.route = route
        self._body_bytes = body
        self._table_columns: dict[str, pa.Array] = {}
        try:
            self._head = _batch(head)
            self.layout = Layout.from_json(self._head.schema.metadata[LAYOUT_KEY])
            _check(self._head, head_schema(self.layout)[0])
            self.model = as_it_ran(route.models()[model], self.layout.outputs)
            self.numbers = self._integers("number", "int32")
            self.row_counts = arrays.values_of(self.head_column("rows"), "int64")
        except _UNREADABLE as error:
            raise DamagedSegment(f"unreadable head: {error}") from error
        self._row_ends = list(accumulate(self.row_counts.tolist(), initial=0))

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

    def request_id(self, index: int) -> str | None:
        """Return the id of one request."""
        return self._text("request_id", index)

    def sampled(self, index: int) -> tuple[ServedModel, ...]:
        """Return the challengers whose observation of an inference was to follow."""
        mask = self._sampled[index]
        return tuple(each for bit, each in enumerate(self.route.challengers) if mask >> bit & 1)

    @property
    def has_challengers(self) -> bool:
        """Say whether any challenger was sampled for any inference."""
        return any(self._sampled)

    def load(self) -> None:
        """Read the body now, so that nothing of it is found damaged later.

        Raises:
            DamagedSegment: It is not what was written.
        """
        try:
            _ = self._body
        except DamagedSegment:
            raise
        except _UNREADABLE as error:
            raise DamagedSegment(f"unreadable body: {error}") from error

    def head_column(self, name: str) -> pa.Array:
        """Return a column of the head, one value per request."""
        return self._head.column(name)

    def table_column(self, name: str) -> pa.Array:
        """Return a tensor as a table stores it, one value per row or request.

        The body must have been loaded.
        """
        known = self._table_columns.get(name)
        if known is None:
            column = next(each for each in self.layout.tensors() if each.name == name)
            batch = self._body if column.per_row else self._head
            count = self._row_ends[-1] if column.per_row else len(self)
            known = self._table_columns[name] = stored_column(column, batch, count)
        return known

    def cell(self, name: str, index: int) -> Array:
        """Return a tensor of numbers of one row or request; the body must have been loaded."""
        at, column = next(
            (at, each) for at, each in enumerate(self.layout.tensors()) if each.name == name
        )
        size = prod(column.shape)
        return self._values[at][index * size : (index + 1) * size].reshape(column.shape)

    def anomalies_of(self, index: int) -> Array:
        """Return for each row of one request how many validations found an anomaly.

        Raises:
            DamagedSegment: The segment is not what was written.
        """
        if self.layout.anomalies:
            self.load()
        return self.anomalies[self._row_ends[index] : self._row_ends[index + 1]]

    @cached_property
    def anomalies(self) -> Array:
        """For each row how many validations found an anomaly; the body must have been loaded."""
        found = np.zeros(self._row_ends[-1], dtype=np.int64)
        for column in self.layout.anomalies:
            found += arrays.values_of(self._body.column(column.name), "bool")
        return found

    def request(self, index: int) -> LoggedInference | LoggedObservation:
        """Decode one request; its arrays are read-only views, but for strings and booleans.

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
            raise DamagedSegment(f"unreadable request: {error}") from error

    def _inference(self, index: int) -> LoggedInference:
        tensors = iter(self._tensors(index))
        of = self.layout
        inputs = {each.name.removeprefix("in."): next(tensors) for each in of.inputs}
        outputs = tuple(next(tensors) for _ in of.outputs)
        anomalies = {each.name.removeprefix("anomaly."): next(tensors) for each in of.anomalies}
        return LoggedInference(
            request_id=self._text("request_id", index) or "",
            time_us=self.times_us[index],
            route=self.route,
            inputs=inputs,
            rows=int(self.row_counts[index]),
            champion=Observation(
                model=self.model,
                status=Status.OK,
                outputs=outputs,
                elapsed_ns=self._elapsed_ns[index],
                time_us=self._ended_us[index],
                anomalies=anomalies,
            ),
            sampled=self.sampled(index),
        )

    def _observation(self, index: int) -> LoggedObservation:
        status = self.layout.status
        seen = Observation(
            model=self.model,
            status=status,
            outputs=self._tensors(index) if status is Status.OK else None,
            error=self._text("error", index),
            elapsed_ns=self._elapsed_ns[index],
            time_us=self._ended_us[index],
            code=self.layout.code,
        )
        return LoggedObservation(
            request_id=self._text("request_id", index) or "",
            route=self.route,
            rows=int(self.row_counts[index]),
            observation=seen,
        )

    def _tensors(self, index: int) -> tuple[Array, ...]:
        """Return one request's tensors, in the order of the layout."""
        return tuple(
            self._tensor(column, values, index)
            for column, values in zip(self.layout.tensors(), self._values, strict=True)
        )

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
        """The flat values of each tensor, of all requests."""
        stored = {per_row: self.layout.columns(per_row=per_row) for per_row in (False, True)}
        parts = {False: self._head, True: self._body}
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
            for column in self.layout.tensors()
        ]

    @cached_property
    def _body(self) -> pa.RecordBatch:
        if not self.layout.columns(per_row=True):
            return None
        body = _batch(self._body_bytes())
        _check(body, body_schema(self.layout)[0])
        if body.num_rows != self._row_ends[-1]:
            raise DamagedSegment("head and body disagree")
        return body

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
        values: list[int] = arrays.values_of(self.head_column(name), dtype).tolist()
        return values

    def _text(self, name: str, index: int) -> str | None:
        text: str | None = self.head_column(name)[index].as_py()
        return text


def decode(segment: Segment) -> list[tuple[int, LoggedInference | LoggedObservation]]:
    """Return what was encoded: each request with its place in the group.

    Raises:
        DamagedSegment: The segment is not what was written.
    """
    view = SegmentView.of_segment(segment)
    return [(number, view.request(index)) for index, number in enumerate(view.numbers)]


def _batch(stream: bytes) -> pa.RecordBatch:
    batch = pa.ipc.open_stream(stream).read_next_batch()
    batch.validate(full=True)
    return batch


def _check(batch: pa.RecordBatch, expected: pa.Schema) -> None:
    if not batch.schema.equals(expected):
        raise ValueError("another schema")


def _numpy_type(dtype: str) -> np.dtype[np.generic]:
    return np.dtype(object if dtype == STRING else dtype)
