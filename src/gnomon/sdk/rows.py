"""Frames as Arrow tables: a column a column, a row a row, each value as it is.

NaN is a value of a column of floats. What is missing otherwise (None, NA, NaT) is none, and is
refused: no model takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.core.errors import InputMismatch
from gnomon.core.tensors import Array, array_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def is_frame(value: object) -> bool:
    """Say whether `value` is a pandas DataFrame, without importing pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(value).__mro__
    )


def _is_tabular(value: object) -> bool:
    """Say whether `table_of` takes it."""
    return is_frame(value) or hasattr(value, "__arrow_c_stream__") or hasattr(value, "to_arrow")


def table_of(value: Any) -> pa.Table:
    """Return the Arrow table of a frame.

    Args:
        value: A pandas DataFrame, a pyarrow Table, or another frame that gives itself as Arrow.
            One input row a row; a cell is a number, a text, a boolean, or a list or array.

    Raises:
        TypeError: It is no frame.
        InputMismatch: No rows, column names that are no text or stand twice, or a column that no
            Arrow type can hold.
    """
    if not _is_tabular(value):
        raise TypeError(
            'infer takes a dict of named tensors, as {"tensor": [[...]]}, a numpy array, a pyarrow '
            f"Table, a polars DataFrame or a pandas DataFrame; got {type(value).__name__}."
        )
    import pyarrow as pa

    try:
        if is_frame(value):
            table = _table_of_pandas(value)
        else:
            table = pa.table(value) if hasattr(value, "__arrow_c_stream__") else value.to_arrow()
    except pa.ArrowException as error:
        raise InputMismatch(f"The {type(value).__name__} is no table: {error}") from error
    if not table.num_rows or not table.num_columns:
        raise InputMismatch(f"The {type(value).__name__} has no rows or no columns.")
    for index, field in enumerate(table.schema):
        if _plain_type(field.type) != field.type:
            table = table.set_column(index, field.name, _plain(table.column(index), field.name))
    return table.replace_schema_metadata(None)


def _table_of_pandas(frame: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    if not all(isinstance(name, str) for name in frame.columns) or len(set(names)) < len(names):
        raise InputMismatch(f"The columns must have names, each another one; got {names[:10]}.")
    if frame.empty:
        raise InputMismatch("The DataFrame has no rows or no columns.")
    return pa.Table.from_arrays([_column(frame[name], name) for name in names], names)


def _column(series: pd.Series[Any], name: str) -> pa.Array:
    import pandas as pd
    import pyarrow as pa

    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiub":
        values = series.to_numpy()
        return pa.array(values.astype(values.dtype.newbyteorder("="), copy=False))
    try:
        if series.dtype == object:
            # Missing values travel as null; the server refuses them where they feed a model.
            values = series.to_numpy()
            cells = zip(values.tolist(), pd.isna(values).tolist(), strict=True)
            return _objects([None if missing else cell for cell, missing in cells], name)
        return pa.array(series)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputMismatch(
            f"Column {name[:80]!r} cannot be sent: its values must be of one kind, and numbers, "
            f"texts, booleans or lists of them. {str(error)[:200]}",
            column=name[:80],
        ) from error


def _objects(cells: list[Any], name: str) -> pa.Array:
    import pyarrow as pa

    if all(isinstance(cell, np.ndarray) and cell.ndim for cell in cells):
        kinds = {(cell.dtype, cell.shape) for cell in cells}
        if len(kinds) == 1 and cells[0].dtype.kind in "fiub" and cells[0].size:
            return nested(np.stack(cells))
    cells = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
    try:
        return _fixed(pa.array(cells))
    except OverflowError:  # an integer above 2^63 - 1
        return nested(array_of(cells, name=name))


def nested(array: Array) -> pa.Array:
    """Return an array of shape [rows, ...] as lists of fixed size."""
    import pyarrow as pa

    values = pa.array(array.reshape(-1).astype(array.dtype.newbyteorder("="), copy=False))
    for size in reversed(array.shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return values


def _fixed(array: pa.Array) -> pa.Array:
    """Return lists that are all of one length as lists of fixed size; other arrays as they are."""
    import pyarrow as pa

    if not pa.types.is_list(array.type) or array.null_count:
        return array
    sizes = np.diff(array.offsets.to_numpy())
    if not sizes[0] or (sizes != sizes[0]).any():
        return array
    return pa.FixedSizeListArray.from_arrays(_fixed(array.flatten()), int(sizes[0]))


def _plain(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return a column in the type of `_plain_type`."""
    import pyarrow as pa

    kind = _plain_type(column.type)
    try:
        if pa.types.is_dictionary(column.type):
            chunks = [chunk.dictionary.cast(kind).take(chunk.indices) for chunk in column.chunks]
            return pa.chunked_array(chunks, kind)
        return column.cast(kind)
    except pa.ArrowException as error:
        raise InputMismatch(
            f"Column {name[:80]!r} of type {str(column.type)[:80]} cannot be sent as {kind}.",
            column=name[:80],
        ) from error


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which values travel: servers take no views, dictionaries, extensions."""
    import pyarrow as pa

    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type), kind.list_size)
    if types.is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(_plain_type(kind.value_type))
    return kind
