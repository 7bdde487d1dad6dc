"""Arrow IPC, file or stream: a column a column, a row a row, answered in the same format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import lib

from gnomon.core import limits
from gnomon.core.errors import InputMismatch
from gnomon.core.routing import ServedModel
from gnomon.core.tensors import Array
from gnomon.front.codecs import answer_records
from gnomon.front.codecs.answer_arrow import as_lists
from gnomon.front.codecs.arrow_bodies import LISTS, TEXTS, WRITTEN_OUT, is_file, read_table
from gnomon.front.codecs.columns import Columns
from gnomon.front.codecs.document import Document
from gnomon.front.codecs.table import Inputs
from gnomon.front.codecs.wanted import Format


class ArrowTable(Document):
    """An Arrow IPC body; columns that feed nothing are echoed and logged.

    Raises:
        MalformedRequest: It is not Arrow, or broken.
        InputMismatch: It has no rows, too much of something, or types that are not taken.
    """

    __slots__ = ("_table", "format", "read_ns")

    columns: ArrowColumns

    def __init__(self, body: bytes) -> None:
        self._table = read_table(body)
        super().__init__(ArrowColumns(self._table), self._table.num_rows)
        self.format = Format.ARROW_FILE if is_file(body) else Format.ARROW_STREAM
        self.read_ns = 0

    def original(self) -> Mapping[str, Sequence[Any]]:
        """Return the columns, each with a value a row."""
        return {name: self.columns.whole(name) for name in self.columns}

    def by_row(self, champion: ServedModel) -> tuple[int, Inputs]:  # noqa: ARG002
        """Return the rows of the table."""
        return self._table.num_rows, self

    def names(self) -> Iterable[str]:
        """Return the names of the columns."""
        return self.columns

    def cells(self, name: str) -> Sequence[Any]:
        """Return a column for JSON; dates, times and decimals are texts."""
        return self.columns.cells(name)

    def objects(self) -> None:
        """Return that there are none."""
        return

    def arrow(self, name: str) -> tuple[pa.Array, bool]:
        """Return a column as it was sent, the same bytes."""
        field = self._table.schema.field(name)
        return as_lists(self._table.column(name).chunk(0)), field.nullable


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

    def _array(self, name: str) -> Array:
        return _tensor(self._values[name], name)

    def cells(self, name: str) -> Sequence[Any]:
        """Return a column for JSON, a value a row; dates, times and decimals are texts."""
        found = self.whole(name)
        return answer_records.cells(found) if isinstance(found, np.ndarray) else found

    def whole(self, name: str) -> Any:
        """Return a column for orjson: an array of numbers, or a list with a value a row."""
        try:
            array = self[name]
            return array.tolist() if array.dtype.kind == "O" else np.ascontiguousarray(array)
        except InputMismatch:
            column = self._values[name]
        if column.type.id in WRITTEN_OUT:
            return _written_out(column, name)
        return column.to_pylist()

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
            column = self._values[name]
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
