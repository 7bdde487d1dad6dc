"""What the requests of one segment have in common, and the Arrow schemas that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from math import prod
from typing import Any

import orjson
import pyarrow as pa

from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status
from gnomon.core.routing import ServedModel
from gnomon.core.tensors import Array, TensorSpec, dtype_name
from gnomon.log import arrays

Entry = InferenceEntry | ObservationEntry

ANY = -1  # an axis whose length the values tell

LAYOUT_KEY = b"gnomon.layout"

# Columns of the head, one row per request. `number` counts from the group's first one.
_INFERENCE_HEAD = (
    pa.field("number", pa.int32(), nullable=False),
    pa.field("request_id", pa.utf8(), nullable=False),
    pa.field("time_us", pa.int64(), nullable=False),  # when the request arrived
    pa.field("rows", pa.int64(), nullable=False),
    pa.field("elapsed_ns", pa.int64(), nullable=False),  # of the champion
    pa.field("ended_us", pa.int64(), nullable=False),  # when the champion ended
    pa.field("sampled", pa.uint64(), nullable=False),  # bit i: the route's i-th challenger
)
_OBSERVATION_HEAD = (
    pa.field("number", pa.int32(), nullable=False),
    pa.field("request_id", pa.utf8(), nullable=False),
    pa.field("of", pa.int64(), nullable=False),  # number of the inference; -1: unknown
    pa.field("rows", pa.int64(), nullable=False),
    pa.field("elapsed_ns", pa.int64(), nullable=False),
    pa.field("ended_us", pa.int64(), nullable=False),
    pa.field("error", pa.utf8()),
)


class Kind(IntEnum):
    """What a segment is about."""

    INFERENCE = 0
    OBSERVATION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One tensor of every request in a segment.

    Attributes:
        name: "in.<column>", "out.<output>" or "anomaly.<validation>".
        dtype: A key of `core.tensors.DTYPES`.
        per_row: The first axis is the request's row: the rows of all requests stand one after the
            other in the body. Otherwise the head holds one whole tensor per request; so it is for
            scalars, and where the first axis counts something else.
        shape: Of one row, or of one whole tensor. If an axis is 0, nothing is stored. In a table
            an axis may be `ANY`.
        apart: It is too large for a table, which has its name instead: see `blobs.py`.
    """

    name: str
    dtype: str
    per_row: bool
    shape: tuple[int, ...]
    apart: bool = False

    @classmethod
    def of(cls, name: str, array: Array, entry: Entry) -> Column:
        """Describe a tensor of an entry.

        Raises:
            ValueError: Its first axis is not the row, so that the entry's requests cannot be told
                apart.
        """
        per_row = array.ndim > 0 and array.shape[0] == sum(entry.rows)
        if not per_row and len(entry.request_ids) != 1:
            raise ValueError(f"{name} has no row for each row of {len(entry.request_ids)} requests")
        return cls(name, dtype_name(array), per_row, array.shape[1:] if per_row else array.shape)

    @property
    def is_stored(self) -> bool:
        """Say whether there is any value to store; otherwise the shape tells all."""
        return prod(self.shape) > 0

    def field(self) -> pa.Field:
        """Return the Arrow field; its metadata is for readers other than gnomon."""
        metadata = {"dtype": self.dtype, "shape": orjson.dumps(self.shape)}
        kind = arrays.tensor_type(self.dtype, self.shape)
        return pa.field(self.name, kind, nullable=False, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the requests of a segment share, beside route and model.

    Attributes:
        status: Of the observation; `ok` for inferences.
        code: The observation's; empty for inferences.
        inputs: Empty for observations.
        outputs: Of the champion, or of the observation. Their names are those of what ran, which
            in a split is not what another request of the route has.
        anomalies: What validations found, in the order of their names.
    """

    kind: Kind
    status: Status
    code: str
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    anomalies: tuple[Column, ...] = ()

    @classmethod
    def of(cls, entry: Entry) -> Layout:
        """Describe one entry.

        Raises:
            InputMismatch: A tensor holds what no model takes or gives.
            ValueError: The entry's requests cannot be told apart in one.
        """
        if isinstance(entry, InferenceEntry):
            inputs = tuple(Column.of(f"in.{k}", v, entry) for k, v in entry.inputs.items())
            outputs = _outputs(entry.champion, entry)
            anomalies = _anomalies(entry) if entry.champion.anomalies else ()
            return cls(Kind.INFERENCE, Status.OK, "", inputs, outputs, anomalies)
        seen = entry.observation
        return cls(Kind.OBSERVATION, seen.status, seen.code, (), _outputs(seen, entry))

    def tensors(self) -> tuple[Column, ...]:
        """Return all tensors of a request, in the order in which they are stored."""
        return (*self.inputs, *self.outputs, *self.anomalies)

    def columns(self, *, per_row: bool) -> list[Column]:
        """Return what the body (per row) or the head (per request) stores, in that order."""
        return [each for each in self.tensors() if each.per_row == per_row and each.is_stored]

    def to_json(self) -> bytes:
        """Return the layout as JSON text."""
        anomalies = {"anomalies": plain(self.anomalies)} if self.anomalies else {}
        return orjson.dumps(
            {
                "kind": int(self.kind),
                "status": self.status.value,
                "code": self.code,
                "inputs": plain(self.inputs),
                "outputs": plain(self.outputs),
                **anomalies,
            }
        )

    @classmethod
    @lru_cache(maxsize=1_000)
    def from_json(cls, text: bytes) -> Layout:
        """Read what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: It did not.
        """
        value: dict[str, Any] = orjson.loads(text)
        return cls(
            Kind(value["kind"]),
            Status(value["status"]),
            value["code"],
            columns(value["inputs"]),
            columns(value["outputs"]),
            columns(value.get("anomalies", ())),
        )


def plain(several: Iterable[Column]) -> list[list[Any]]:
    """Return columns as JSON values."""
    return [
        [each.name, each.dtype, each.per_row, each.shape, *([True] if each.apart else ())]
        for each in several
    ]


def columns(values: Iterable[Sequence[Any]]) -> tuple[Column, ...]:
    """Read what `plain` gave.

    Raises:
        ValueError, TypeError: It did not.
    """
    return tuple(
        Column(name, dtype, row, tuple(shape), *apart) for name, dtype, row, shape, *apart in values
    )


def _anomalies(entry: InferenceEntry) -> tuple[Column, ...]:
    found = sorted(entry.champion.anomalies.items())
    columns = tuple(Column.of(f"anomaly.{name}", each, entry) for name, each in found)
    for each in columns:
        if (each.dtype, each.per_row, each.shape) != ("bool", True, ()):
            raise ValueError(f"{each.name} is not one truth value for each row")
    return columns


def _outputs(observation: Observation, entry: Entry) -> tuple[Column, ...]:
    names = _declared(observation.model, len(observation.outputs or ()))
    return tuple(
        Column.of(f"out.{name}", array, entry)
        for name, array in zip(names, observation.outputs or (), strict=True)
    )


def _declared(model: ServedModel, count: int) -> list[str]:
    """Return the names of a model's first outputs; one that it does not declare has a number."""
    names = [spec.name for spec in model.signature.outputs[:count]]
    return names + [str(index) for index in range(len(names), count)]


def as_it_ran(model: ServedModel, outputs: Sequence[Column]) -> ServedModel:
    """Return a model with the outputs that were logged, if it declares others.

    The options of a split are one model of a route, and each has outputs of its own.
    """
    names = [column.name.removeprefix("out.") for column in outputs]
    if names == _declared(model, len(names)):
        return model
    specs = tuple(
        TensorSpec(name=name, dtype=column.dtype, shape=_declared_shape(column))
        for name, column in zip(names, outputs, strict=True)
    )
    return replace(model, signature=replace(model.signature, outputs=specs))


def _declared_shape(column: Column) -> tuple[int | None, ...]:
    axes = tuple(None if axis == ANY else axis for axis in column.shape)
    return (None, *axes) if column.per_row else axes


@lru_cache(maxsize=1_000)
def head_schema(layout: Layout) -> tuple[pa.Schema, bytes]:
    """Return the schema of a layout's head, and its Arrow IPC message."""
    fixed = _INFERENCE_HEAD if layout.kind is Kind.INFERENCE else _OBSERVATION_HEAD
    fields = [*fixed, *(column.field() for column in layout.columns(per_row=False))]
    return _with_message(pa.schema(fields, metadata={LAYOUT_KEY: layout.to_json()}))


@lru_cache(maxsize=1_000)
def body_schema(layout: Layout) -> tuple[pa.Schema, bytes]:
    """Return the schema of a layout's body, and its Arrow IPC message."""
    return _with_message(pa.schema([column.field() for column in layout.columns(per_row=True)]))


def _with_message(schema: pa.Schema) -> tuple[pa.Schema, bytes]:
    return schema, schema.serialize().to_pybytes()
