"""Arrow IPC, file or stream: a column a column, a row a row, answered in the same format."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import ipc, lib

from gnomon.core import limits
from gnomon.core.errors import InputMismatch
from gnomon.core.inference import Observation, Status
from gnomon.core.tensors import STRING, Array, TensorSpec
from gnomon.front.codecs.arrow_bodies import LISTS, TEXTS, WRITTEN_OUT, is_file, read_table
from gnomon.front.codecs.columns import Columns
from gnomon.front.codecs.document import (
    Answer,
    Document,
    Result,
    by_row,
    challengers_header,
    check_by_row,
)

FILE = b"application/vnd.apache.arrow.file"
STREAM = b"application/vnd.apache.arrow.stream"

_TIME = pa.field("time", pa.timestamp("ms"), nullable=False)
_ANOMALIES = pa.field("anomaly.count", pa.uint32(), nullable=False)


class ArrowTable(Document):
    """An Arrow IPC body; columns that feed nothing are echoed and logged.

    Raises:
        MalformedRequest: It is not Arrow, or broken.
        InputMismatch: It has no rows, too much of something, or types that are not taken.
    """

    __slots__ = ("_is_file", "_table")

    def __init__(self, body: bytes) -> None:
        table = read_table(body)
        super().__init__(ArrowColumns(table), table.num_rows)
        self._table = table
        self._is_file = is_file(body)

    def check_outputs(self, champion: Observation) -> None:
        """Raise ModelFailed if an output cannot be split into one part for each row."""
        assert self.rows is not None
        check_by_row(champion, self.rows)

    def answer(self, result: Result) -> Answer:
        """Return a table of flat columns: time, in.*, out.*, anomaly.count, out_<label>.*."""
        rows, table = self._table.num_rows, self._table
        fields, columns = [_TIME], [_buffered(np.full(rows, result.time_ms), _TIME.type)]
        for field, chunks in zip(table.schema, table.columns, strict=True):
            column = _as_lists(chunks.chunk(0))
            fields.append(pa.field(f"in.{field.name}", column.type, field.nullable))
            columns.append(column)
        assert result.champion.outputs is not None
        for spec, array in zip(_outputs(result.champion), result.champion.outputs, strict=True):
            columns.append(_column(array))
            fields.append(pa.field(f"out.{spec.name}", columns[-1].type, nullable=False))
        fields.append(_ANOMALIES)
        columns.append(_buffered(np.zeros(rows, "uint32"), _ANOMALIES.type))
        for model, observation in sorted(
            zip(result.route.challengers, result.challengers, strict=True),
            key=lambda pair: pair[0].label,
        ):
            arrays = _shown(observation, rows)
            for index, spec in enumerate(model.signature.outputs):
                column = _nulls(spec, rows) if arrays is None else _column(arrays[index])
                fields.append(pa.field(f"out_{model.label}.{spec.name}", column.type))
                columns.append(column)
        return Answer(
            self._written(pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))),
            challengers_header(result),
            FILE if self._is_file else STREAM,
        )

    def _written(self, batch: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        make = ipc.new_file if self._is_file else ipc.new_stream
        with make(sink, batch.schema) as writer:
            writer.write_batch(batch)
        body: bytes = sink.getvalue().to_pybytes()
        return body


class ArrowColumns(Columns):
    """The columns of a table; numbers are views of the body.

    Args:
        table: As `read_table` returns it.
    """

    __slots__ = ()

    def __init__(self, table: pa.Table) -> None:
        super().__init__(
            {field.name: table.column(index).chunk(0) for index, field in enumerate(table.schema)}
        )

    def __getitem__(self, name: str) -> Array:
        array = self._arrays.get(name)
        if array is None:
            array = self._arrays[name] = _tensor(self._values[name], name)
        return array

    def loggable(self, name: str) -> Array:
        """Return a column that feeds no model: as it is, or as texts if it is no tensor.

        Dates, times and decimals are written out, "null" where there is none; cells of lists of
        unequal lengths, and columns with nulls, are JSON.

        Raises:
            InputMismatch: It has more values than are written out.
        """
        try:
            return self[name]
        except InputMismatch:
            column: Any = self._values[name]
        if _values(column) > limits.TEXT_VALUES_MAX:
            raise InputMismatch(
                f"Column {name[:80]!r} feeds no model and would be logged as text, and has more "
                f"than {limits.TEXT_VALUES_MAX} values.",
                column=name[:80],
            )
        texts = np.empty(len(column), dtype=object)
        if column.type.id in WRITTEN_OUT:
            texts[:] = ["null" if cell is None else cell for cell in _written_out(column, name)]
        else:
            texts[:] = [orjson.dumps(cell).decode() for cell in column.to_pylist()]
        return texts


def _values(column: pa.Array) -> int:
    """Return how many values, or lists of them, a column has at its longest."""
    most = len(column)
    while column.type.id in LISTS:
        column = column.flatten()
        most = max(most, len(column))
    return most


def _written_out(column: pa.Array, name: str) -> list[str | None]:
    try:
        texts: list[str | None] = column.cast(pa.string()).to_pylist()
    except pa.ArrowException as error:  # a time zone that nobody knows
        raise InputMismatch(
            f"Column {name[:80]!r} of type {str(column.type)[:80]} cannot be written out.",
            column=name[:80],
        ) from error
    return texts


def _tensor(column: pa.Array, name: str) -> Array:
    """Return a column as an array of shape [rows, ...], without copying numbers.

    Raises:
        InputMismatch: It has nulls, lists of unequal lengths, or is one of `WRITTEN_OUT`.
    """
    shape = [len(column)]
    cells = column
    while True:
        if cells.null_count:
            row = int(np.argmin(_flat(cells.is_valid()))) // prod(shape[1:])
            raise InputMismatch(
                f"Column {name[:80]!r} has no value (null) in row {row}.",
                column=name[:80],
                row=row,
            )
        if cells.type.id not in LISTS:
            break
        shape.append(_list_size(cells, name))
        cells = cells.flatten()
    if cells.type.id in WRITTEN_OUT:
        raise InputMismatch(
            f"Column {name[:80]!r} holds values of type {str(cells.type)[:80]}; numbers, strings "
            "or booleans were expected.",
            column=name[:80],
            found=str(cells.type)[:80],
        )
    if len(cells) > limits.TENSOR_ELEMENTS_MAX:
        raise InputMismatch(
            f"Column {name[:80]!r} has {len(cells)} values; at most "
            f"{limits.TENSOR_ELEMENTS_MAX} are taken.",
            column=name[:80],
        )
    return _flat(cells).reshape(shape)


def _list_size(lists: pa.Array, name: str) -> int:
    if lists.type.id == lib.Type_FIXED_SIZE_LIST:
        return int(lists.type.list_size)
    sizes = np.diff(lists.offsets.to_numpy())
    if not len(sizes):
        return 0
    if (sizes != sizes[0]).any():
        raise InputMismatch(
            f"Column {name[:80]!r} is ragged: its lists must all have the same length.",
            column=name[:80],
        )
    return int(sizes[0])


def _flat(cells: pa.Array) -> Array:
    if cells.type.id in TEXTS or cells.type.id == lib.Type_BOOL:
        copied: Array = cells.to_numpy(zero_copy_only=False)
        return copied
    dtype = np.dtype(cells.type.to_pandas_dtype())  # numpy's type, in spite of its name
    if not len(cells):
        return np.empty(0, dtype)
    values = np.frombuffer(cells.buffers()[1], dtype, len(cells), cells.offset * dtype.itemsize)
    return values if values.flags.aligned else values.copy()


# Outputs


def _outputs(observation: Observation) -> tuple[TensorSpec, ...]:
    return observation.model.signature.outputs


def _shown(observation: Observation | None, rows: int) -> tuple[Array, ...] | None:
    """Return a challenger's outputs, if it has any that can be shown row by row."""
    if observation is None or observation.status is not Status.OK:
        return None
    assert observation.outputs is not None
    return observation.outputs if by_row(observation.outputs, rows) else None


def _column(array: Array) -> pa.Array:
    """Return an array of shape [rows, ...] as a column: plain values, or lists of them."""
    column = _plain(array)
    for axis in range(array.ndim - 1, 0, -1):
        lists, size = prod(array.shape[:axis]), array.shape[axis]
        column = _listed(column, lists, size, "inner", nullable=False)
    return column


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


def _as_lists(column: pa.Array) -> pa.Array:
    """Return a column of lists of fixed size as lists of any, whose values are the same bytes."""
    if column.type.id != lib.Type_FIXED_SIZE_LIST or column.offset:
        return column
    values, valid = _as_lists(column.values), column.buffers()[0]
    return _listed(values, len(column), column.type.list_size, "item", nullable=True, valid=valid)


def _nulls(spec: TensorSpec, rows: int) -> pa.Array:
    kind = pa.string() if spec.dtype == STRING else pa.from_numpy_dtype(np.dtype(spec.dtype))
    for _ in spec.shape[1:]:
        kind = pa.list_(pa.field("inner", kind, nullable=False))
    return pa.nulls(rows, kind)
