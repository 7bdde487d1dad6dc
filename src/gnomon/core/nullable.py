"""Values that may be null, and what conditions do with them: logic of three values, a NaN that is
in order, numbers that do not overflow for being stored small.

A value is an array with one for each row, or a scalar that stands for all rows, and beside it which
of them are null; what then stands in the array is of no account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gnomon.core.tensors import Array

Nulls = Any  # an array of bools, or one numpy bool for all rows; None: nothing is null
Value = tuple[Any, Nulls]

ALL, NONE = np.True_, np.False_


class CannotCompute(Exception):
    """What was asked of the values cannot be done with them; the text says why."""


def either(one: Nulls, other: Nulls) -> Nulls:
    """Return where one or the other is null."""
    if one is None:
        return other
    return one if other is None else one | other


# Logic


def logical_and(*of: Value) -> Value:
    """Return false where one is false, else null where one is null."""
    values, nulls = of[0]
    for more, unknown in of[1:]:
        if nulls is None and unknown is None:
            values = values & more
        else:
            maybe = _or_null(values, nulls) & _or_null(more, unknown)
            values, nulls = maybe, either(nulls, unknown) & maybe
    return values, nulls


def logical_or(*of: Value) -> Value:
    """Return true where one is true, else null where one is null."""
    values, nulls = of[0]
    for more, unknown in of[1:]:
        if nulls is None and unknown is None:
            values = values | more
        else:
            surely = and_known(values, nulls) | and_known(more, unknown)
            values, nulls = surely, either(nulls, unknown) & ~surely
    return values, nulls


def _not(value: Value) -> Value:
    return np.logical_not(value[0]), value[1]


def _xor(left: Value, right: Value) -> Value:
    return np.logical_xor(left[0], right[0]), either(left[1], right[1])


def _or_null(values: Any, nulls: Nulls) -> Any:
    return values if nulls is None else values | nulls


def and_known(values: Any, nulls: Nulls) -> Any:
    """Return truths, false where they are null."""
    return values if nulls is None else values & ~nulls


LOGICAL: Mapping[str, Callable[..., Value]] = {
    "and": logical_and,
    "or": logical_or,
    "not": _not,
    "xor": _xor,
}


# Comparisons, of values without their nulls


def is_text(value: Any) -> bool:
    """Say whether a value is a text, or an array of them."""
    return value.dtype.kind in "OUT" if isinstance(value, np.ndarray) else isinstance(value, str)


def _may_be_nan(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"  # no scalar is NaN


def _equal(left: Any, right: Any) -> Any:
    found = left == right
    if _may_be_nan(left) and _may_be_nan(right):
        found = found | (np.isnan(left) & np.isnan(right))
    return found


def _less(left: Any, right: Any) -> Any:
    """Compare, NaN being greater than all else."""
    if not _may_be_nan(right):
        return left < right
    if not _may_be_nan(left):
        return ~(left >= right)
    return (left < right) | (np.isnan(right) & ~np.isnan(left))


COMPARING: Mapping[str, Callable[[Any, Any], Any]] = {
    "equal": _equal,
    "not_equal": lambda left, right: np.logical_not(_equal(left, right)),
    "less": _less,
    "less_equal": lambda left, right: np.logical_not(_less(right, left)),
    "greater": lambda left, right: _less(right, left),
    "greater_equal": lambda left, right: np.logical_not(_less(left, right)),
}


# Texts


def as_texts(array: Array) -> Value:
    """Return an array of texts, and where there are none."""
    nulls: Any = array == None  # noqa: E711 - of each text
    return (np.where(nulls, "", array), nulls) if nulls.any() else (array, None)


def texts_with(look: Callable[[str, str], bool], value: Value, wanted: str) -> Value:
    """Return of which texts `look(text, wanted)` is true."""
    texts, nulls = value
    return np.fromiter((look(text, wanted) for text in texts), bool, len(texts)), nulls


LOOKING: Mapping[str, Callable[[str, str], bool]] = {
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "contains": str.__contains__,
}


def among(value: Value, wanted: frozenset[Any]) -> Value:
    """Return which values are among others, as they are: single floats are not rounded to."""
    cells = np.asarray(value[0]).reshape(-1).tolist()
    return np.fromiter(map(wanted.__contains__, cells), bool, len(cells)), value[1]


# Numbers


def widened(values: Any) -> Any:
    """Return floats as they are, and truths and small integers with 64 bits."""
    kind = values.dtype.kind
    if kind == "f":
        return values
    if kind not in "iub":
        raise CannotCompute("numbers were expected where there are texts")
    return values.astype(np.int64) if values.dtype.itemsize < 8 else values


def divided(function: Callable[[Any, Any], Any], left: Value, right: Value) -> Value:
    """Divide; integers divided by 0 are null."""
    found = function(left[0], right[0])
    nulls = either(left[1], right[1])
    return found, either(nulls, np.equal(right[0], 0)) if found.dtype.kind in "iu" else nulls


def _negative(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.dtype.kind == "u":
        raise CannotCompute("there is no negative of an unsigned integer")
    return np.negative(values)


COMPUTING: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "negate": _negative,
    "abs": np.abs,
    "is_nan": np.isnan,
    "is_finite": np.isfinite,
    "is_infinite": np.isinf,
}
DIVIDING: Mapping[str, Callable[[Any, Any], Any]] = {
    "modulo": np.remainder,
    "floor_divide": np.floor_divide,
}


def cast(value: Value, dtype: np.dtype[Any]) -> tuple[Any, Nulls, Nulls]:
    """Return values as another type of numbers, where they are null, and where they do not fit.

    What a float has behind the point is cut off.
    """
    values, nulls = np.asarray(value[0]), value[1]
    if dtype.kind not in "iu":
        return values.astype(dtype), nulls, None
    bounds = np.iinfo(dtype)
    if values.dtype.kind == "f":  # whole powers of two, which floats hold
        whole = np.trunc(values)
        fits = (whole >= bounds.min) & (whole < float(bounds.max) + 1.0)
    else:
        fits = (values >= bounds.min) & (values <= bounds.max)
    if fits.all():
        return values.astype(dtype), nulls, None
    return np.where(fits, values, 0).astype(dtype), nulls, and_known(~fits, nulls)


# Lists: of numbers, the second axis, which is not empty

AGGREGATES: Mapping[str, Callable[[Array], Any]] = {
    "list_mean": lambda lists: lists.mean(axis=1),
    "list_max": lambda lists: np.fmax.reduce(lists, axis=1),  # NaN where there is nothing else
    "list_min": lambda lists: np.fmin.reduce(lists, axis=1),
    "list_arg_max": lambda lists: np.where(np.isnan(lists), -np.inf, lists).argmax(axis=1),
    "list_arg_min": lambda lists: np.where(np.isnan(lists), np.inf, lists).argmin(axis=1),
}
