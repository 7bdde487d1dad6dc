"""Conditions on the columns of a log (`core/conditions.py`), evaluated on Arrow arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gnomon.core import conditions, expression_trees
from gnomon.core.errors import Invalid
from gnomon.core.expression_trees import COLUMN, VALUE, Known, Node
from gnomon.core.tensors import Array

Columns = Mapping[str, pa.Array]
Value = Any  # an Arrow array, or a scalar
Evaluate = Callable[[Columns], Value]

_LOGGED = Known(
    frozenset({"time", "in", "out", "out_", "anomaly", "metadata"}),
    "time, in.*, out.*, out_<label>.*, anomaly.* and metadata.*",
)


class Where:
    """A condition.

    Args:
        text: In the grammar of `core/conditions.py`.

    Attributes:
        text: As it was given.

    Raises:
        Invalid: It is not; the message says what was found where.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        tree = conditions.parse(text, "where", _LOGGED)
        self._evaluate = _compiled(expression_trees.read(tree, "where", _LOGGED))

    def holds(self, rows: pa.RecordBatch | pa.Table) -> Array:
        """Say for each row whether the condition holds; where it is null it does not.

        Raises:
            Invalid: It compares or computes what cannot be.
        """
        columns = {
            name: column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            for name, column in zip(rows.schema.names, rows.columns, strict=True)
        }
        try:
            found = _truth(self._evaluate(_Columns(columns, rows.num_rows)))
            if not pa.types.is_boolean(found.type):
                raise Invalid("where is no condition: it is neither true nor false.")
            if isinstance(found, pa.Scalar):
                return np.full(rows.num_rows, found.as_py() is True)
            return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise Invalid(f"where cannot be computed: {str(error).splitlines()[0]}") from error


class _Columns(dict[str, pa.Array]):
    """Columns by name; one that these rows do not have is null."""

    def __init__(self, columns: Columns, rows: int) -> None:
        super().__init__(columns)
        self._rows = rows

    def __missing__(self, name: str) -> pa.Array:
        return pa.nulls(self._rows)


def _compiled(node: Node) -> Evaluate:
    """Return what evaluates a node; those that no condition has are not there."""
    parameter = node.parameter
    if node.operation == COLUMN:
        return lambda columns: columns[parameter]
    if node.operation == VALUE:
        return lambda _: pa.scalar(parameter)
    of = [_compiled(each) for each in node.of]
    if node.operation == "element_or_null":
        function: Callable[..., Value] = _element(parameter)
    else:
        function = _FUNCTIONS[node.operation]
    return lambda columns: function(*(each(columns) for each in of))


# Functions


def _truth(value: Value) -> Value:
    """Take what is null in all rows, as a column that these do not have, for truth values."""
    return value.cast(pa.bool_()) if pa.types.is_null(value.type) else value


def _equal(left: Value, right: Value) -> Value:
    left, right = _alike(left, right)
    found = pc.equal(left, right)
    if _may_be_nan(left) and _may_be_nan(right):
        found = pc.or_kleene(found, pc.and_kleene(pc.is_nan(left), pc.is_nan(right)))
    return found


def _less(left: Value, right: Value) -> Value:
    """Compare, NaN being greater than all else."""
    left, right = _alike(left, right)
    if not _may_be_nan(right):
        return pc.less(left, right)
    if not _may_be_nan(left):
        return pc.invert(pc.greater_equal(left, right))
    nan = pc.and_kleene(pc.is_nan(right), pc.invert(pc.is_nan(left)))
    return pc.or_kleene(pc.less(left, right), nan)


def _may_be_nan(value: Value) -> bool:
    return isinstance(value, pa.Array) and pa.types.is_floating(value.type)


def _alike(left: Value, right: Value) -> tuple[Value, Value]:
    """Take a text beside a time for a time, and a number beside floats for one of theirs."""
    return _as_beside(left, right), _as_beside(right, left)


def _as_beside(value: Value, other: Value) -> Value:
    kind = other.type
    if pa.types.is_timestamp(kind) and pa.types.is_string(value.type):
        moment = datetime.fromisoformat(value.as_py())
        return pa.scalar(moment if moment.tzinfo else moment.replace(tzinfo=UTC), kind)
    if _may_be_nan(other) and isinstance(value, pa.Scalar) and _is_number(value.type):
        # 0.1 beside half and single floats is the nearest of theirs, as which 0.1 was logged.
        with np.errstate(over="ignore"):
            return pa.scalar(np.dtype(kind.to_pandas_dtype()).type(value.as_py()), kind)
    return value


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _divide(left: Value, right: Value) -> Value:
    return pc.divide(left.cast(pa.float64()), right.cast(pa.float64()))


def _is_nan(value: Value) -> Value:
    return pc.is_nan(value.cast(pa.float64()) if pa.types.is_null(value.type) else value)


def _element(place: int) -> Callable[[Value], Value]:
    """Return what gives the value at a place of each list; null where a list is shorter."""

    def element(lists: Value) -> Value:
        if pa.types.is_null(lists.type):
            return lists
        if not pa.types.is_list(lists.type):
            raise TypeError(f"[{place + 1}] stands behind what is no list")
        offsets = lists.offsets.to_numpy()
        at = offsets[:-1].astype(np.int64) + place
        absent = at >= offsets[1:]
        validity = pa.py_buffer(np.packbits(~absent, bitorder="little"))
        indices = pa.Array.from_buffers(pa.int64(), len(at), [validity, pa.py_buffer(at)])
        return lists.values.take(indices)

    return element


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "and": lambda *of: reduce(pc.and_kleene, map(_truth, of)),
    "or": lambda *of: reduce(pc.or_kleene, map(_truth, of)),
    "not": lambda value: pc.invert(_truth(value)),
    "equal": _equal,
    "not_equal": lambda left, right: pc.invert(_equal(left, right)),
    "less": _less,
    "less_equal": lambda left, right: pc.invert(_less(right, left)),
    "greater": lambda left, right: _less(right, left),
    "greater_equal": lambda left, right: pc.invert(_less(left, right)),
    "is_null": pc.is_null,
    "is_nan": _is_nan,
    "add": pc.add,
    "subtract": pc.subtract,
    "multiply": pc.multiply,
    "divide": _divide,
    "negate": pc.negate,
    "abs": pc.abs,
}
