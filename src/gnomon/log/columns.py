"""The columns of a log table: what a tensor becomes there, and how it is read back. Pure.

Tables know neither unsigned integers nor half floats nor lists of fixed size, so a value is stored
as the next wider type, and a tensor as lists in lists. A column is per input row: a tensor whose
first axis is not the row stands in each row of its request. A cell that would be too large holds
the name of a file instead, in a column of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gnomon.core import limits
from gnomon.core.tensors import STRING, Array
from gnomon.log import arrays
from gnomon.log.layouts import ANY, Column

_WIDER = {
    "uint8": pa.int16(),
    "uint16": pa.int32(),
    "uint32": pa.int64(),
    "uint64": pa.decimal128(20, 0),
    "float16": pa.float32(),
}

_REFERENCE = ".sha256"


def table_name(column: Column, prefix: str) -> str:
    """Return the name of a tensor's column in a table.

    Args:
        prefix: What the model's columns begin with; "in" for inputs.
    """
    name = prefix + column.name[column.name.index(".") :]
    return f"metadata.{name}{_REFERENCE}" if column.apart else name


def is_reference(name: str) -> bool:
    """Say whether a column of a table holds the names of tensors that are too large for it."""
    return name.startswith("metadata.") and name.endswith(_REFERENCE)


def table_type(column: Column) -> pa.DataType:
    """Return the type of a tensor's column in a table."""
    if column.apart:
        return pa.utf8()
    kind = _WIDER.get(column.dtype, arrays.ARROW_TYPES[column.dtype])
    for _ in column.shape:
        kind = pa.list_(kind)
    return kind


def is_same_type(one: pa.DataType, other: pa.DataType) -> bool:
    """Compare types by what they hold, whatever the fields of lists are called."""
    while pa.types.is_list(one) and pa.types.is_list(other):
        one, other = one.value_type, other.value_type
    return bool(one.equals(other))


def stored_column(column: Column, batch: pa.RecordBatch, count: int) -> pa.Array:
    """Return a tensor's column as a table stores it, one value per row or request.

    Args:
        batch: The head or body of a segment, where the column is.
        count: Rows or requests of the segment.
    """
    if not column.is_stored:
        kind = arrays.ARROW_TYPES[column.dtype]
        return _nested(_widened(pa.nulls(0, kind), column.dtype), column.shape, count)
    found = batch.column(batch.schema.get_field_index(column.name))
    flat = found.values if pa.types.is_fixed_size_list(found.type) else found
    return _nested(_widened(flat, column.dtype), column.shape, count)


def _widened(flat: pa.Array, dtype: str) -> pa.Array:
    wider = _WIDER.get(dtype)
    if wider is None:
        return flat
    if dtype == "float16":
        halves = np.frombuffer(flat.buffers()[1] or b"", np.float16, count=len(flat))
        return arrays.tensors(halves.astype(np.float32), "float32", (), len(flat))
    return pc.cast(flat, wider)


def _nested(flat: pa.Array, shape: tuple[int, ...], count: int) -> pa.Array:
    """Cut flat values into `count` tensors of one shape, lists in lists."""
    for axis in range(len(shape) - 1, -1, -1):
        lists = count * prod(shape[:axis])
        offsets = np.arange(lists + 1, dtype=np.int32) * np.int32(shape[axis])
        kind = pa.list_(flat.type)
        flat = pa.Array.from_buffers(kind, lists, [None, pa.py_buffer(offsets)], children=[flat])
    return flat


def open_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns as tables describe them.

    The lengths of their axes are left open, where values tell them; what is too large for a table
    stands apart.
    """
    return tuple(
        each
        if 0 in each.shape
        else replace(each, shape=(ANY,) * len(each.shape), apart=_is_large(each))
        for each in columns
    )


def _is_large(column: Column) -> bool:
    if column.dtype == STRING:
        return False
    return prod(column.shape) * np.dtype(column.dtype).itemsize > limits.LOG_CELL_BYTES_MAX


class TensorColumn:
    """A tensor's column in some rows of a table, of which requests are read one by one.

    Args:
        column: As `open_columns` returned it.
    """

    def __init__(self, column: Column, values: pa.Array) -> None:
        self._column = column
        self._offsets: list[Array] = []
        for _ in column.shape:
            self._offsets.append(values.offsets.to_numpy())
            values = values.values
        self._flat = values if column.dtype in (STRING, "uint64") else _numbers(values)

    def tensor(self, start: int, rows: int) -> Array:
        """Return the tensor of one request, as it was logged.

        Args:
            start: Its first row.
            rows: How many the request has.

        Raises:
            ValueError: It is not what the column should hold.
        """
        count = rows if self._column.per_row else 1
        first, end = start, start + count
        shape = []
        for axis, offsets in zip(self._column.shape, self._offsets, strict=True):
            before = end - first
            first, end = int(offsets[first]), int(offsets[end])
            shape.append((end - first) // max(before, 1) if axis == ANY else axis)
        if end - first != count * prod(shape):
            raise ValueError(f"{self._column.name} is not of the shape {shape}")
        flat = _narrowed(self._flat[first:end], self._column.dtype)
        return flat.reshape((rows, *shape) if self._column.per_row else shape)


class ReferenceColumn:
    """As `TensorColumn`, of a tensor that stands apart.

    Args:
        values: The names of the tensors.
        read: Returns the tensor of a name.
    """

    def __init__(self, column: Column, values: pa.Array, read: Callable[[str], Array]) -> None:
        self._column = column
        self._names = values
        self._read = read

    def tensor(self, start: int, rows: int) -> Array:
        """Return the tensor of one request, as it was logged.

        Raises:
            OSError, ValueError: It is missing, or not what the column should hold.
        """
        count = rows if self._column.per_row else 1
        found = [self._read(name) for name in self._names.slice(start, count).to_pylist()]
        if any(each.dtype != self._column.dtype for each in found):
            raise ValueError(f"{self._column.name} is not of the type {self._column.dtype}")
        if not self._column.per_row:
            return found[0]
        return found[0][None] if len(found) == 1 else np.stack(found)


def _numbers(values: pa.Array) -> Array:
    """Return numbers or booleans; where there is null, anything."""
    if pa.types.is_boolean(values.type):
        return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False))
    data = values.buffers()[1]
    if data is None:
        return np.empty(0, dtype=values.type.to_pandas_dtype())
    whole = np.frombuffer(data, dtype=values.type.to_pandas_dtype())
    return whole[values.offset : values.offset + len(values)]


def _narrowed(values: Any, dtype: str) -> Array:
    if dtype in (STRING, "uint64"):
        plain: Any = values.to_pylist()
        strings = np.empty(len(plain), dtype=object)
        strings[:] = plain
        return strings if dtype == STRING else strings.astype(np.uint64)
    numbers: Array = values
    return numbers if numbers.dtype == dtype else numbers.astype(dtype)
