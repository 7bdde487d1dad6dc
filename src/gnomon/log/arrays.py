"""numpy and Python values to Arrow arrays and back, bit for bit.

Made from buffers: the first `pyarrow.array(list)` of a process imports pandas where that is
installed, which would stall a front for a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gnomon.core.tensors import DTYPES, STRING, Array

ARROW_TYPES: dict[str, pa.DataType] = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "float16": pa.float16(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "bool": pa.bool_(),
    STRING: pa.utf8(),
}
assert ARROW_TYPES.keys() == DTYPES.keys()

_OFFSET_MAX = 2**31 - 1
_TEXT_BYTES = 50  # what a Python text takes beside its characters, about


def numbers(values: Iterable[int], dtype: str, count: int) -> pa.Array:
    """Return `count` integers as an Arrow array.

    Raises:
        OverflowError: One of them does not fit `dtype`.
    """
    return _flat(np.fromiter(values, dtype=dtype, count=count), dtype)


def integers(values: Array) -> pa.Array:
    """Return integers as an Arrow array of their type."""
    return _flat(np.ascontiguousarray(values), str(values.dtype))


def texts(values: Sequence[str]) -> pa.Array:
    """Return texts as an Arrow string array.

    Raises:
        TypeError: A value is not text.
        UnicodeEncodeError: A text has no UTF-8 form (half of a surrogate pair).
        OverflowError: More than 2 GiB of text.
    """
    return _texts(values, None)


def texts_or_null(values: Sequence[str | None]) -> pa.Array:
    """Return texts as an Arrow string array; None becomes null. Raises as `texts`."""
    if values.count(None) == len(values):
        return pa.nulls(len(values), pa.utf8())
    present = np.array([value is not None for value in values], dtype=np.bool_)
    validity = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    return _texts([value or "" for value in values], validity)


def _texts(values: Sequence[str], validity: pa.Buffer | None) -> pa.Array:
    data = "".join(values).encode()
    lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
    if len(data) != lengths.sum():  # not ASCII: a character may be several bytes
        lengths = np.array([len(value.encode()) for value in values], dtype=np.int64)
    buffers = [validity, pa.py_buffer(_offsets(lengths)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.utf8(), len(values), buffers)


def binaries(values: Sequence[bytes]) -> pa.Array:
    """Return byte strings as an Arrow binary array.

    Raises:
        OverflowError: More than 2 GiB of bytes.
    """
    lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
    buffers = [None, pa.py_buffer(_offsets(lengths)), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def instants(values: Sequence[int] | Array) -> pa.Array:
    """Return microseconds since 1970 as UTC timestamps; 0 means unknown and becomes null."""
    array = np.array(values, dtype=np.int64)
    validity = None
    if not array.all():
        validity = pa.py_buffer(np.packbits(array != 0, bitorder="little"))
    kind = pa.timestamp("us", tz="UTC")
    return pa.Array.from_buffers(kind, len(array), [validity, pa.py_buffer(array)])


def repeated(value: str | int, count: int) -> pa.Array:
    """Return an Arrow array of one text or int64, `count` times."""
    if isinstance(value, int):
        return _flat(np.full(count, value, dtype=np.int64), "int64")
    data = value.encode()
    offsets = _offsets(np.full(count, len(data)))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data * count)]
    return pa.Array.from_buffers(pa.utf8(), count, buffers)


def lists(values: pa.Array, lengths: Sequence[int], kind: pa.ListType) -> pa.Array:
    """Cut `values` into lists of the given lengths."""
    offsets = pa.py_buffer(_offsets(np.array(lengths, dtype=np.int64)))
    return pa.Array.from_buffers(kind, len(lengths), [None, offsets], children=[values])


def _offsets(lengths: Array) -> Array:
    """Return 0 and the running sums: where each value starts, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] > _OFFSET_MAX:
        raise OverflowError(f"{offsets[-1]} bytes in one column")
    return offsets.astype(np.int32)


def tensor_type(dtype: str, shape: tuple[int, ...]) -> pa.DataType:
    """Return the Arrow type of tensors of one shape: a plain value, or a list of fixed size."""
    value = ARROW_TYPES[dtype]
    return pa.list_(value, prod(shape)) if shape else value


def tensors(values: Array | list[str], dtype: str, shape: tuple[int, ...], count: int) -> pa.Array:
    """Return `count` tensors of one shape as an Arrow array of `tensor_type(dtype, shape)`.

    Args:
        values: Numbers of `dtype`, C order, shape [count, *shape]; for strings the flat list.
        shape: Of one tensor; none of its axes is 0.
    """
    flat = texts(values) if isinstance(values, list) else _flat(values.reshape(-1), dtype)
    assert len(flat) == count * prod(shape)
    if not shape:
        return flat
    return pa.Array.from_buffers(tensor_type(dtype, shape), count, [None], children=[flat])


def _flat(values: Array, dtype: str) -> pa.Array:
    data = np.packbits(values, bitorder="little") if dtype == "bool" else values
    return pa.Array.from_buffers(ARROW_TYPES[dtype], len(values), [None, pa.py_buffer(data)])


def values_of(array: pa.Array, dtype: str) -> Array:
    """Return the flat values of what `tensors` made: a view, but for strings and booleans.

    Args:
        array: A whole column as it was read, not a slice of one.

    Raises:
        ValueError: It holds nulls, or another type than `dtype` says.
    """
    flat = array.values if pa.types.is_fixed_size_list(array.type) else array
    if flat.type != ARROW_TYPES[dtype] or flat.null_count or array.null_count or flat.offset:
        raise ValueError(f"not a column of {dtype}")
    if dtype == STRING:
        strings = np.empty(len(flat), dtype=object)
        strings[:] = flat.to_pylist()
        return strings
    if len(flat) == 0:
        return np.empty(0, dtype=dtype)
    data: Any = flat.buffers()[1]
    if dtype == "bool":
        bits = np.frombuffer(data, dtype=np.uint8)
        return np.unpackbits(bits, count=len(flat), bitorder="little").view(np.bool_)
    return np.frombuffer(data, dtype=dtype, count=len(flat))


def column_values(table: pa.Table, name: str) -> Array:
    """Return a column of int64 or of times, which has no nulls, as int64."""
    values: Array = table.column(name).cast(pa.int64()).to_numpy()
    return values


def is_text(table: pa.Table, name: str, texts_wanted: Sequence[str]) -> Array:
    """Return for each row whether a column has one of the texts."""
    found = pc.is_in(table.column(name), value_set=texts(texts_wanted))
    values: Array = found.to_numpy()
    return values


def bytes_of(array: Array) -> int:
    """Return the bytes that an array takes in memory; about, where it holds texts."""
    if not array.dtype.hasobject:
        return array.nbytes
    flat = array.reshape(-1).tolist()
    return array.nbytes + len(flat) * _TEXT_BYTES + sum(map(len, map(str, flat)))
