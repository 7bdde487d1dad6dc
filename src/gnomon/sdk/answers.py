"""Answers to tables: read, joined, and given back as the kind of frame that was sent."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson

from gnomon.core.errors import Conflict, ServerError
from gnomon.core.tensors import Array
from gnomon.sdk.inference import Challenger, challengers_of, merged
from gnomon.sdk.rows import is_frame

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHADOW_PREFIX = "out_"
_METADATA = b"gnomon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Rows that have no answer.

    Attributes:
        start: The first of them, counted from 0.
        stop: The first after them.
        error: Why, in a sentence.
        error_code: The `code` of the error's class.
    """

    start: int
    stop: int
    error: str
    error_code: str

    @property
    def rows(self) -> int:
        """Return how many they are."""
        return self.stop - self.start


def read(body: bytes, request_id: str, told: str | None) -> pa.Table:
    """Read the answer to one request.

    Args:
        told: JSON of how the challengers fared, by label.

    Returns:
        A table whose schema's metadata has, under "gnomon", the JSON object of `facts_of`.

    Raises:
        ServerError: It is no table.
    """
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)
        challengers = json.loads(told or "{}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ServerError(
            "The server's answer is not a table that this version of gnomon can read."
        ) from error
    return _with_facts(table, request_ids=[request_id], challengers=challengers)


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Join the answers to rows that were sent in several requests, in order.

    Raises:
        Conflict: They have columns of one name that cannot be joined.
    """
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise Conflict(
            f"The answers cannot be joined: {error}. Was the pipeline deployed anew meanwhile? "
            "Ask again."
        ) from error
    facts = [_facts(part) for part in tables]
    return _with_facts(
        table,
        request_ids=[request_id for fact in facts for request_id in fact["request_ids"]],
        challengers=merged(fact["challengers"] for fact in facts),
    )


def unanswered(sent: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return what stands for the answer to rows that have none.

    Args:
        sent: These rows.
        schema: Of an answer to others.

    Returns:
        Their input columns, and nulls.
    """
    import pyarrow as pa

    def column(field: pa.Field) -> Any:
        name = field.name.removeprefix("in.")
        if name != field.name and name in sent.column_names:
            with contextlib.suppress(pa.ArrowException):
                return sent.column(name).cast(field.type)
        return pa.nulls(sent.num_rows, field.type)

    table = pa.table({field.name: column(field) for field in schema})
    return _with_facts(table, request_ids=[], challengers={})


def with_failures(table: pa.Table, failures: Sequence[Failure]) -> pa.Table:
    """Return an answer that says which rows have none: also in a column "error", if there are."""
    import pyarrow as pa

    facts = _facts(table)
    if failures:
        errors: list[str | None] = [None] * table.num_rows
        for failure in failures:
            errors[failure.start : failure.stop] = [failure.error] * failure.rows
        table = table.append_column("error", pa.array(errors, pa.string()))
    return _with_facts(table, **facts, failures=[asdict(failure) for failure in failures])


def warn_of_failures(table: pa.Table) -> None:
    """Warn, in the name of the caller's caller, that there are rows without an answer."""
    failures = [Failure(**failure) for failure in _facts(table)["failures"]]
    if not failures:
        return
    first, lost = failures[0], sum(failure.rows for failure in failures)
    rows = f"row {first.start}" if first.rows == 1 else f"rows {first.start} to {first.stop - 1}"
    more = f" And {len(failures) - 1} more." if len(failures) > 1 else ""
    warnings.warn(
        f"{lost} of {table.num_rows} rows have no answer. {rows.capitalize()}: {first.error}{more} "
        'The column "error" has all.',
        UserWarning,
        stacklevel=3,
    )


def _with_facts(table: pa.Table, *, request_ids: list[str], **facts: Any) -> pa.Table:
    named = {"request_id": request_ids[0] if request_ids else "", "request_ids": request_ids}
    return table.replace_schema_metadata({_METADATA: json.dumps({**named, **facts})})


def _facts(table: pa.Table) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(table.schema.metadata[_METADATA])
    del facts["request_id"]
    return facts


def facts_of(table: pa.Table) -> dict[str, Any]:
    """Return what an answer says beside its columns.

    Returns:
        "request_id"; "request_ids", more than one if the rows were sent in several requests;
        "challengers", as `InferenceResult` has them; and, of `parallel_infer`, "failures".
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
            name: _cells(name, column)
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )
    frame.attrs.update(facts_of(table))
    return frame


def _cells(name: str, column: pa.ChunkedArray) -> pd.Series[Any] | Array:
    """Return what a column of a DataFrame is made of; arrays, where they will do, are quicker."""
    import pyarrow as pa

    if pa.types.is_struct(column.type):
        return _objects(column.to_pylist())
    # By how they begin: what joins the parts of a name is the caller's choice.
    if name.startswith("anomaly") and pa.types.is_integer(column.type):
        column = column.cast(pa.int64())
    is_input, is_list = name.startswith("in"), pa.types.is_nested(column.type)
    is_plain = is_input or not (column.null_count or pa.types.is_floating(column.type))
    if is_plain and not is_list:
        is_whole = pa.types.is_integer(column.type) or column.type == pa.timestamp("ms")
        cells = column.to_numpy() if is_whole and not column.null_count else column.to_pandas()
        return cast("Array | pd.Series[Any]", cells)
    array = _dense(column)
    if array is None:
        return _objects(column.to_pylist())
    values = array.tolist() if is_input else _decimal(array)
    return _objects(values) if is_list else np.array(values)


def _objects(cells: list[Any]) -> Array:
    return np.fromiter(cells, object, len(cells))


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
