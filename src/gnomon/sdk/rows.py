"""Frames to Arrow and back: a column a column, a row a row, each value as it was.

NaN is a value of a column of floats. What is missing otherwise (None, NA, NaT) is none, and is
refused: no model takes it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, InputMismatch, ServerError
from gnomon.core.tensors import Array, array_of
from gnomon.sdk.inference import Challenger, challengers_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHADOW_PREFIX = "out_"
_METADATA = b"gnomon"


def is_frame(value: object) -> bool:
    """Say whether `value` is a pandas DataFrame, without importing pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(value).__mro__
    )


def is_tabular(value: object) -> bool:
    """Say whether `table_of` takes it."""
    return is_frame(value) or hasattr(value, "__arrow_c_stream__") or hasattr(value, "to_arrow")


# What is sent


def table_of(value: Any) -> pa.Table:
    """Return the Arrow table of a frame.

    Args:
        value: A pandas DataFrame, a pyarrow Table, or another frame that gives itself as Arrow.
            One input row a row; a cell is a number, a text, a boolean, or a list or array.

    Raises:
        InputMismatch: No rows, column names that are no text or stand twice, or a column that no
            Arrow type can hold.
    """
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
    import pyarrow as pa

    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiub":
        values = series.to_numpy()
        return pa.array(values.astype(values.dtype.newbyteorder("="), copy=False))
    try:
        if series.dtype == object:
            # Missing values travel as null; the server refuses them where they feed a model.
            cells = zip(series.tolist(), series.isna().tolist(), strict=True)
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
            return _nested(np.stack(cells))
    cells = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
    try:
        return _fixed(pa.array(cells))
    except OverflowError:  # an integer above 2^63 - 1
        return _nested(array_of(cells, name=name))


def _nested(array: Array) -> pa.Array:
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


def bodies(table: pa.Table) -> Iterator[bytes]:
    """Yield the request bodies for a table, each with as many rows as one may have, in order.

    Raises:
        BodyTooLarge: A single row is too large.
    """
    parts = 1 + table.nbytes // limits.INFER_BODY_BYTES_MAX
    rows = -(-table.num_rows // parts)
    for start in range(0, table.num_rows, rows):
        yield from _fitting(table.slice(start, rows))


def _fitting(table: pa.Table) -> Iterator[bytes]:
    body = _encode(table)
    if len(body) <= limits.INFER_BODY_BYTES_MAX:
        yield body
        return
    if table.num_rows == 1:
        raise BodyTooLarge(
            f"A row has {len(body)} bytes; one request may have {limits.INFER_BODY_BYTES_MAX}."
        )
    half = table.num_rows // 2
    yield from _fitting(table.slice(0, half))
    yield from _fitting(table.slice(half))


def _encode(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    body: bytes = sink.getvalue().to_pybytes()
    return body


# What comes back


def decode(body: bytes) -> pa.Table:
    """Read the answer to one of `bodies`.

    Raises:
        ServerError: It is no table.
    """
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ServerError(
            "The server's answer is not a table that this version of gnomon can read."
        ) from error
    return table


def joined(
    tables: Sequence[pa.Table],
    request_ids: Sequence[str],
    told: Sequence[Mapping[str, Mapping[str, Any]]],
) -> pa.Table:
    """Join the answers to `bodies`, in order.

    Args:
        told: What each answer says of the challengers, by label.

    Returns:
        A table whose schema's metadata has, under "gnomon", the JSON object of `facts_of`.
    """
    import pyarrow as pa

    table = tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")
    challengers: dict[str, dict[str, Any]] = {}
    for part in told:
        for label, one in part.items():
            before = challengers.setdefault(label, {**one, "status": "ok", "elapsed": 0})
            before["elapsed"] += one["elapsed"]
            if before["status"] == "ok":  # the first that is not says how it fared
                before.update(status=one["status"], error=one["error"])
    facts = {
        "request_id": request_ids[0],
        "request_ids": list(request_ids),
        "challengers": challengers,
    }
    return table.replace_schema_metadata({_METADATA: json.dumps(facts)})


def facts_of(table: pa.Table) -> dict[str, Any]:
    """Return what an answer says beside its columns.

    Returns:
        "request_id"; "request_ids", more than one if the rows were sent in several requests;
        and "challengers", as `InferenceResult` has them.
    """
    facts: dict[str, Any] = json.loads(table.schema.metadata[_METADATA])
    challengers: dict[str, Challenger] = challengers_of(facts["challengers"])
    return {**facts, "challengers": challengers}


def like(table: pa.Table, sent: object) -> Any:
    """Return an answer as a frame of the kind that was sent; a Table where that is not known."""
    if is_frame(sent):
        return to_pandas(table)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(sent, polars.DataFrame):
        return polars.from_arrow(table)
    return table


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Make the DataFrame of an answer.

    Returns:
        A row per input row, with the columns of the table; lists are Python lists, and floats of
        outputs are those of their shortest decimal text. `attrs` has what `facts_of` returns.
    """
    import pandas as pd

    frame = pd.DataFrame(
        {
            name: _series(column, is_input=name.startswith("in."))
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )
    frame["anomaly.count"] = frame["anomaly.count"].astype("int64")
    frame.attrs.update(facts_of(table))
    return frame


def _series(column: pa.ChunkedArray, *, is_input: bool) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    is_list = pa.types.is_nested(column.type)
    if not is_list and (is_input or not (column.null_count or pa.types.is_floating(column.type))):
        series: pd.Series[Any] = column.to_pandas()
        return series
    array = _dense(column)
    if array is None:
        return pd.Series(column.to_pylist(), dtype=object)
    cells = array.tolist() if is_input else _decimal(array)
    return pd.Series(cells, dtype=object if is_list else None)


def _dense(column: pa.ChunkedArray) -> Array | None:
    """Return a column as an array of shape [rows, ...]; None if it has nulls or is ragged."""
    import pyarrow as pa

    cells, shape = pa.concat_arrays(column.chunks), [len(column)]
    while not cells.null_count and pa.types.is_nested(cells.type):
        if pa.types.is_fixed_size_list(cells.type):
            shape.append(cells.type.list_size)
        else:
            sizes = np.unique(np.diff(cells.offsets.to_numpy()))
            if len(sizes) != 1:
                return None
            shape.append(int(sizes[0]))
        cells = cells.flatten()
    if cells.null_count:
        return None
    array: Array = cells.to_numpy(zero_copy_only=False)
    return array.reshape(shape)


def _decimal(array: Array) -> list[Any]:
    """Return nested lists; of float32 what its shortest texts say: 0.1, not 0.10000000149."""
    if array.dtype not in (np.float16, np.float32):
        values: list[Any] = array.tolist()
    elif np.isfinite(array).all():
        import orjson

        values = orjson.loads(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
    else:
        values = np.array([float(str(value)) for value in array.flat]).reshape(array.shape).tolist()
    return values


def column_order(names: Iterator[str]) -> list[str]:
    """Return each name once: time, in.*, out.*, anomaly.*, then out_<label>.* by label."""
    groups = {"time": 0, "in": 1, "out": 2, "anomaly": 3}
    found = dict.fromkeys(names)
    order = {name: index for index, name in enumerate(found)}

    def key(name: str) -> tuple[int, str, int]:
        group = name.partition(".")[0]
        return groups.get(group, 4), group, order[name]

    return sorted(found, key=key)
