"""Ended requests as rows of a log table. Pure.

A table has the columns that users know, one row per input row (`docs/logs.md` lists them). What
those cannot say, because types were widened or tensors became lists, stands in a description that
rows name by its digest, so that requests are read back as they were logged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from gnomon.core.inference import Status
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array
from gnomon.log import arrays
from gnomon.log.blobs import name_of
from gnomon.log.columns import table_name, table_type
from gnomon.log.layouts import Column, columns, plain
from gnomon.log.views import SegmentView

TIME = "time"
ANOMALIES = "anomaly.count"
REQUEST_ID = "metadata.request_id"
ROW = "metadata.row"
ROWS = "metadata.rows"
PIPELINE_VERSION = "metadata.pipeline_version"
STEP = "metadata.step"
LOG = "metadata.log"
PLACE = "metadata.place"
DESCRIPTION = "metadata.description"

INSTANT = pa.timestamp("us", tz="UTC")
_FIXED: dict[str, pa.DataType] = {
    REQUEST_ID: pa.utf8(),
    ROW: pa.int64(),
    ROWS: pa.int64(),
    PIPELINE_VERSION: pa.utf8(),
    STEP: pa.int64(),
    PLACE: pa.int64(),
    DESCRIPTION: pa.utf8(),
}
_OF_MODEL: dict[str, pa.DataType] = {
    "model": pa.utf8(),
    "version_id": pa.int64(),
    "version": pa.utf8(),
    "sha": pa.utf8(),
    "status": pa.utf8(),
    "error": pa.utf8(),
    "elapsed_ns": pa.int64(),
    "ended": INSTANT,
}


def prefix_of(model: ServedModel) -> str:
    """Return what the columns of a model's outputs begin with."""
    return "out" if model.role == "champion" else f"out_{model.label}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a sampled challenger, as far as all requests of a unit share it.

    Attributes:
        outputs: Empty unless the status is ok.
    """

    model: ServedModel
    status: Status
    code: str
    outputs: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What the requests of a unit have in common."""

    route: Route
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    outcomes: tuple[Outcome, ...]
    anomalies: tuple[Column, ...] = ()

    def to_json(self) -> bytes:
        """Return the description as JSON text."""
        route = self.route.to_json()
        known = self.route.challengers
        outcomes = [
            [known.index(each.model), each.status.value, each.code, plain(each.outputs)]
            for each in self.outcomes
        ]
        of_champion = {"inputs": plain(self.inputs), "outputs": plain(self.outputs)}
        if self.anomalies:
            of_champion["anomalies"] = plain(self.anomalies)
        return orjson.dumps({"route": route, **of_champion, "outcomes": outcomes})

    @classmethod
    @lru_cache(maxsize=1_000)
    def from_json(cls, text: bytes) -> Description:
        """Read what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError, IndexError: It did not.
        """
        value: dict[str, Any] = orjson.loads(text)
        route = Route.from_json(value["route"])
        outcomes = tuple(
            Outcome(route.challengers[index], Status(status), code, columns(outputs))
            for index, status, code, outputs in value["outcomes"]
        )
        of_champion = (columns(value.get(key, ())) for key in ("inputs", "outputs", "anomalies"))
        inputs, outputs, anomalies = of_champion
        return cls(route, inputs, outputs, outcomes, anomalies)

    @staticmethod
    def digest(text: bytes) -> str:
        """Return by what rows name a description."""
        return hashlib.sha256(text).hexdigest()[:16]

    def types(self) -> dict[str, pa.DataType]:
        """Return the columns that the rows of the unit have, without `LOG`."""
        tensors = {table_name(each, "in"): table_type(each) for each in self.inputs}
        models: dict[str, pa.DataType] = {}
        both = ((self.route.champion, self.outputs), *((o.model, o.outputs) for o in self.outcomes))
        for model, outputs in both:
            prefix = prefix_of(model)
            tensors |= {table_name(each, prefix): table_type(each) for each in outputs}
            for name, kind in _OF_MODEL.items():
                models[f"metadata.{prefix}.{name}"] = kind
        anomalies = {each.name: table_type(each) for each in self.anomalies}
        return {TIME: INSTANT, **tensors, ANOMALIES: pa.int64(), **anomalies, **_FIXED, **models}


class Stack:
    """Segments that have columns of the same types, one after the other.

    Attributes:
        counts: Rows of each request.
        starts: Where the rows of each request begin.
    """

    def __init__(self, views: Sequence[SegmentView]) -> None:
        self._views = views
        self.counts = np.concatenate([view.row_counts for view in views])
        self.starts = np.cumsum(self.counts) - self.counts
        # By whether it is of rows or of requests: where those of each segment begin.
        self._firsts = {
            True: np.cumsum([0, *(view.row_counts.sum() for view in views)]),
            False: np.cumsum([0, *map(len, views)]),
        }

    def head(self, name: str) -> pa.Array:
        """Return a column of the head, one value per request."""
        return _joined([view.head_column(name) for view in self._views])

    def tensor(self, name: str) -> pa.Array:
        """Return a tensor as a table stores it, one value per row or request."""
        return _joined([view.table_column(name) for view in self._views])

    def cell(self, column: Column, index: int) -> Array:
        """Return a tensor of numbers of one row or request, as it was logged."""
        firsts = self._firsts[column.per_row]
        at = int(np.searchsorted(firsts, index, side="right")) - 1
        return self._views[at].cell(column.name, index - int(firsts[at]))

    def anomalies(self) -> Array:
        """Return for each row how many validations found an anomaly."""
        return np.concatenate([view.anomalies for view in self._views])


@dataclass(frozen=True, slots=True)
class Part:
    """Some requests of a stack.

    Attributes:
        positions: Of each in the stack.
    """

    stack: Stack
    positions: Array


@dataclass(frozen=True, slots=True)
class Unit:
    """Ended requests that have a description in common.

    Attributes:
        places: Of the requests, packed; ascending.
        inferences: What the champion did with them.
        seen: What the challenger of each outcome did; None: nobody knows, it is lost.
    """

    description: Description
    places: Array
    inferences: Part
    seen: tuple[Part | None, ...]

    def since(self, place: int) -> Unit | None:
        """Return the requests from a packed place on; None if there are none."""
        first = int(np.searchsorted(self.places, place))
        if first == 0:
            return self
        if first == len(self.places):
            return None
        parts = [part and Part(part.stack, part.positions[first:]) for part in self.seen]
        inferences = Part(self.inferences.stack, self.inferences.positions[first:])
        return Unit(self.description, self.places[first:], inferences, tuple(parts))

    def rows(self, digest: str, keep: Callable[[Array], str] = name_of) -> pa.RecordBatch:
        """Return the requests' rows, in the order of their places, without `LOG`.

        Args:
            digest: Of the description.
            keep: Takes a tensor that is too large for a table, and returns its name.

        Raises:
            What `keep` raises.
        """
        return _Rows(self, keep).batch(digest)


class _Rows:
    """Makes the columns of a unit."""

    def __init__(self, unit: Unit, keep: Callable[[Array], str]) -> None:
        self._unit = unit
        self._keep = keep
        counts = unit.inferences.stack.counts[unit.inferences.positions]
        # A request without rows has one here, or it would be nowhere.
        repeats = np.maximum(counts, 1)
        self._count = int(repeats.sum())
        self._request = np.repeat(np.arange(len(counts)), repeats)
        self._row = np.arange(self._count) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        self._rows = np.repeat(counts, repeats)

    def batch(self, digest: str) -> pa.RecordBatch:
        unit, of = self._unit, self._unit.description
        columns: dict[str, pa.Array] = {
            TIME: arrays.instants(self._integers(unit.inferences, "time_us")),
            **self._tensors("in", of.inputs, unit.inferences),
            **self._tensors("out", of.outputs, unit.inferences),
            ANOMALIES: self._anomalies(),
            **self._tensors("anomaly", of.anomalies, unit.inferences),
            REQUEST_ID: self._texts(unit.inferences, "request_id"),
            ROW: arrays.tensors(self._row, "int64", (), self._count),
            ROWS: arrays.tensors(self._rows, "int64", (), self._count),
            PIPELINE_VERSION: self._same(of.route.pipeline_version),
            STEP: self._same(of.route.step),
            PLACE: arrays.tensors(unit.places[self._request], "int64", (), self._count),
            DESCRIPTION: self._same(digest),
            **self._model(of.route.champion, Status.OK, unit.inferences),
        }
        for outcome, part in zip(of.outcomes, unit.seen, strict=True):
            if part is not None:
                columns |= self._tensors(prefix_of(outcome.model), outcome.outputs, part)
            columns |= self._model(outcome.model, outcome.status, part)
        schema = pa.schema(list(of.types().items()))
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _tensors(self, prefix: str, columns: Sequence[Column], part: Part) -> dict[str, pa.Array]:
        request = part.positions[self._request]
        row = part.stack.starts[request] + self._row
        found = {}
        for column in columns:
            indices = row if column.per_row else request
            if column.apart:
                values = self._names(part.stack, column, indices)
            else:
                values = _take(part.stack.tensor(column.name), indices, absent=self._rows == 0)
            found[table_name(column, prefix)] = values
        return found

    def _names(self, stack: Stack, column: Column, indices: Array) -> pa.Array:
        """Have tensors kept that are too large for a table; return their names."""
        present = self._rows > 0
        names = {
            index: self._keep(stack.cell(column, index))
            for index in np.unique(indices[present]).tolist()
        }
        each = zip(indices.tolist(), present.tolist(), strict=True)
        return arrays.texts_or_null([names[at] if is_there else None for at, is_there in each])

    def _anomalies(self) -> pa.Array:
        if not self._unit.description.anomalies:
            return self._same(0)
        part = self._unit.inferences
        row = part.stack.starts[part.positions[self._request]] + self._row
        counts = np.append(part.stack.anomalies(), 0)  # one that a request without rows has
        values = counts[np.where(self._rows > 0, row, -1)]
        return arrays.tensors(values, "int64", (), self._count)

    def _model(self, model: ServedModel, status: Status, part: Part | None) -> dict[str, pa.Array]:
        """Return what the table says of a model beside its outputs."""
        fixed: dict[str, str | int] = {
            "model": str(model),
            "version_id": model.version_id,
            "version": model.uuid,
            "sha": model.sha256,
            "status": status.value,
        }
        columns = {name: self._same(value) for name, value in fixed.items()}
        if part is None or status is Status.OK:
            columns["error"] = pa.nulls(self._count, pa.utf8())
        else:
            columns["error"] = self._texts(part, "error")
        if part is None:
            columns["elapsed_ns"] = self._same(0)
            columns["ended"] = pa.nulls(self._count, INSTANT)
        else:
            elapsed = self._integers(part, "elapsed_ns")
            columns["elapsed_ns"] = arrays.tensors(elapsed, "int64", (), self._count)
            columns["ended"] = arrays.instants(self._integers(part, "ended_us"))
        return {f"metadata.{prefix_of(model)}.{name}": column for name, column in columns.items()}

    def _integers(self, part: Part, name: str) -> Array:
        values = arrays.values_of(part.stack.head(name), "int64")
        return values[part.positions[self._request]]

    def _texts(self, part: Part, name: str) -> pa.Array:
        return _take(part.stack.head(name), part.positions[self._request])

    def _same(self, value: str | int) -> pa.Array:
        return arrays.repeated(value, self._count)


def _joined(arrays: Sequence[pa.Array]) -> pa.Array:
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def _take(values: pa.Array, indices: Array, absent: Array | None = None) -> pa.Array:
    """Return the values at the indices, null where they are absent."""
    if absent is not None and absent.any():
        validity = pa.py_buffer(np.packbits(~absent, bitorder="little"))
        data = pa.py_buffer(np.ascontiguousarray(indices, dtype=np.int64))
        return values.take(pa.Array.from_buffers(pa.int64(), len(indices), [validity, data]))
    first = int(indices[0]) if len(indices) else 0
    if np.array_equal(indices, np.arange(first, first + len(indices))):
        return values.slice(first, len(indices))
    return values.take(arrays.tensors(np.ascontiguousarray(indices), "int64", (), len(indices)))
