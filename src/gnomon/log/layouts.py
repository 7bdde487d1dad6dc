"""What the requests of one segment have in common, and the Arrow schemas that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from math import prod
from typing import Any

import orjson
import pyarrow as pa

from gnomon.core.inference import InferenceEntry, Observation, ObservationEntry, Status
from gnomon.core.model import Signature
from gnomon.core.tensors import Array, dtype_name
from gnomon.log import arrays

Entry = InferenceEntry | ObservationEntry

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
        name: "in.<column>" or "out.<output>".
        dtype: A key of `core.tensors.DTYPES`.
        per_row: The first axis is the request's row: the rows of all requests stand one after the
            other in the body. Otherwise the head holds one whole tensor per request; so it is for
            scalars, and where the first axis counts something else.
        shape: Of one row, or of one whole tensor. If an axis is 0, nothing is stored.
    """

    name: str
    dtype: str
    per_row: bool
    shape: tuple[int, ...]

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
        outputs: Of the champion, or of the observation.
    """

    kind: Kind
    status: Status
    code: str
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]

    @classmethod
    def of(cls, entry: Entry) -> Layout:
        """Describe one entry.

        Raises:
            InputMismatch: A tensor holds what no model takes or gives.
            ValueError: The entry's requests cannot be told apart in one.
        """
        if isinstance(entry, InferenceEntry):
            inputs = tuple(Column.of(f"in.{k}", v, entry) for k, v in entry.inputs.items())
            return cls(Kind.INFERENCE, Status.OK, "", inputs, _outputs(entry.champion, entry))
        seen = entry.observation
        return cls(Kind.OBSERVATION, seen.status, seen.code, (), _outputs(seen, entry))

    def columns(self, *, per_row: bool) -> list[Column]:
        """Return what the body (per row) or the head (per request) stores, in that order."""
        both = (*self.inputs, *self.outputs)
        return [column for column in both if column.per_row == per_row and column.is_stored]

    def to_json(self) -> bytes:
        """Return the layout as JSON text."""
        return orjson.dumps(
            {
                "kind": int(self.kind),
                "status": self.status.value,
                "code": self.code,
                "inputs": [[c.name, c.dtype, c.per_row, c.shape] for c in self.inputs],
                "outputs": [[c.name, c.dtype, c.per_row, c.shape] for c in self.outputs],
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
        inputs, outputs = (
            tuple(Column(name, dtype, row, tuple(shape)) for name, dtype, row, shape in value[key])
            for key in ("inputs", "outputs")
        )
        return cls(Kind(value["kind"]), Status(value["status"]), value["code"], inputs, outputs)


def _outputs(observation: Observation, entry: Entry) -> tuple[Column, ...]:
    signature: Signature = observation.model.signature
    names = [spec.name for spec in signature.outputs]
    return tuple(
        Column.of(f"out.{names[i] if i < len(names) else i}", array, entry)
        for i, array in enumerate(observation.outputs or ())
    )


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
