"""Arrow: a table of flat columns or of structs; arrays of numbers are written as they lie."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from gnomon.core.tensors import STRING, Array
from gnomon.front.codecs.result import Answer, Result
from gnomon.front.codecs.table import TIME, Column, Constant, Input, Inputs, Output, columns
from gnomon.front.codecs.wanted import METADATA

FILE = b"application/vnd.apache.arrow.file"
STREAM = b"application/vnd.apache.arrow.stream"

_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_TIME = pa.timestamp("ms")

Part = tuple[tuple[str, ...], bool, pa.Array]  # name in parts, may have nulls, values


def answer(result: Result, rows: int, inputs: Inputs, *, is_file: bool) -> Answer:
    """Return a table of flat columns, unless objects in objects were asked for."""
    separator = result.wanted.dataset_separator
    parts = [_part(each, rows, inputs) for each in columns(result, rows, inputs)]
    if separator != "":
        separator = separator or "."
        parts = [((separator.join(path),), nullable, array) for path, nullable, array in parts]
    fields, arrays = _merged(parts)
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
    body = _file(batch) if is_file else _stream(batch)
    return Answer(body, result.challengers_header(), FILE if is_file else STREAM)


def _part(column: Column, rows: int, inputs: Inputs) -> Part:
    content = column.content
    if isinstance(content, Constant):
        return column.path, column.path[0] == METADATA, _constant(content, rows)
    if isinstance(content, Input):
        array, nullable = inputs.arrow(content.name)
        return column.path, nullable, array
    found = _nulls(content, rows) if content.array is None else arrow(content.array)
    return column.path, content.nullable, found


def _merged(parts: list[Part]) -> tuple[list[pa.Field], list[pa.Array]]:
    """Return fields and values; what has several parts in its name stands in structs."""
    groups: dict[str, list[Part]] = {}
    for path, nullable, array in parts:
        groups.setdefault(path[0], []).append((path[1:], nullable, array))
    fields, arrays = [], []
    for name, group in groups.items():
        rest, nullable, array = group[0]
        if rest:
            inner, values = _merged(group)
            nullable, array = False, pa.StructArray.from_arrays(values, fields=inner)
        fields.append(pa.field(name, array.type, nullable))
        arrays.append(array)
    return fields, arrays


def _stream(batch: pa.RecordBatch) -> bytes:
    # What a stream writer writes, without its buffer that grows.
    return b"".join((batch.schema.serialize(), batch.serialize(), _END_OF_STREAM))


def _file(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


# Values


def arrow(array: Array) -> pa.Array:
    """Return an array of shape [rows, ...] as a column: plain values, or lists of them."""
    column = _plain(array)
    for axis in range(array.ndim - 1, 0, -1):
        lists, size = prod(array.shape[:axis]), array.shape[axis]
        column = _listed(column, lists, size, "inner", nullable=False)
    return column


def as_lists(column: pa.Array) -> pa.Array:
    """Return a column of lists of fixed size as lists of any, whose values are the same bytes."""
    if not pa.types.is_fixed_size_list(column.type) or column.offset:
        return column
    values, valid = as_lists(column.values), column.buffers()[0]
    return _listed(values, len(column), column.type.list_size, "item", nullable=True, valid=valid)


def _plain(array: Array) -> pa.Array:
    if array.dtype.kind == "O":
        return _texts(array.reshape(-1).tolist())
    flat = np.ascontiguousarray(array).reshape(-1)
    if array.dtype.kind == "b":
        return pa.Array.from_buffers(
            pa.bool_(), len(flat), [None, pa.py_buffer(np.packbits(flat, bitorder="little"))]
        )
    return _buffered(flat, pa.from_numpy_dtype(flat.dtype))


def _texts(texts: list[str]) -> pa.Array:
    # From buffers, because `pyarrow.array` looks for pandas, which has no place here.
    encoded = [text.encode() for text in texts]
    ends = np.fromiter(accumulate(map(len, encoded), initial=0), np.int64, len(encoded) + 1)
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def _buffered(array: Array, kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(array), [None, pa.py_buffer(array)])


def _listed(
    values: pa.Array, lists: int, size: int, name: str, *, nullable: bool, valid: Any = None
) -> pa.Array:
    offsets = np.arange(lists + 1, dtype=np.int32) * np.int32(size)
    kind = pa.list_(pa.field(name, values.type, nullable))
    return pa.Array.from_buffers(kind, lists, [valid, pa.py_buffer(offsets)], children=[values])


def _constant(constant: Constant, rows: int) -> pa.Array:
    value, dtype = constant.value, constant.dtype
    if dtype == TIME:
        return _buffered(np.full(rows, value), _TIME)
    values = value if isinstance(value, list) else [value]
    if value is None:
        return pa.nulls(rows, _type(dtype))
    array = np.tile(np.array(values, object if dtype == STRING else dtype), rows)
    if isinstance(value, list):
        return _listed(_plain(array), rows, len(values), "item", nullable=True)
    return _plain(array)


def _nulls(output: Output, rows: int) -> pa.Array:
    kind = _type(output.dtype)
    for _ in range(output.rank):
        kind = pa.list_(pa.field("inner", kind, nullable=False))
    return pa.nulls(rows, kind)


def _type(dtype: str) -> pa.DataType:
    return pa.string() if dtype == STRING else pa.from_numpy_dtype(np.dtype(dtype))
