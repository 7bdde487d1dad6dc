"""Expressions computed on rows: numpy arrays in, an array with a value for each row out.

A tree is made into functions once. Numbers, texts and truths are known apart then, where the tree
says so; where only a column can say it, when the column is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from gnomon.core import nullable
from gnomon.core.errors import Invalid
from gnomon.core.expression_trees import (
    AGGREGATES,
    ARITHMETIC,
    COLUMN,
    COMPARING,
    ELEMENTS,
    LOGICAL,
    TESTING,
    VALUE,
    Node,
)
from gnomon.core.nullable import ALL, NONE, CannotCompute, Nulls, Value, either
from gnomon.core.tensors import Array

Kind = Literal["number", "text", "truth"]


class Rows:
    """What one batch of rows has.

    Args:
        inputs, outputs: By the name without its group; the first axis is the row.
        count: How many rows.

    Attributes:
        failed: Rows in which a value could not be computed.
    """

    __slots__ = ("_groups", "count", "failed")

    def __init__(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], count: int
    ) -> None:
        self._groups = {"in": inputs, "out": outputs}
        self.count = count
        self.failed: Nulls = None

    def column(self, group: str, name: str) -> Array:
        """Return a column; what has no rows is the only row's as a whole."""
        array = self._groups[group].get(name)
        if array is None:
            raise CannotCompute(f"there is no column {group}.{name}")
        if array.ndim and len(array) == self.count:
            return array
        if self.count == 1:
            return array[np.newaxis]
        raise CannotCompute(f"{group}.{name} has not one value for each row")


Compute = Callable[[Rows], Value]
Lists = Callable[[Rows], Array]


def compiled(node: Node) -> Compute:
    """Return what computes a condition.

    Raises:
        Invalid: It is none, or mixes numbers, texts and truths; the message is the predicate of a
            sentence about it.
    """
    return _condition(_folded(node))


def _folded(node: Node) -> Node:
    """Return a node in which what is computed of numbers of the tree alone is a number of it.

    A number of the tree takes the type of what stands beside it; one computed by numpy does not.
    """
    of = tuple(map(_folded, node.of))
    folds = nullable.COMPUTING.get(node.operation) or nullable.COMPARING.get(node.operation)
    if folds and all(_kind(each) == "number" and each.operation == VALUE for each in of):
        with np.errstate(all="ignore"):
            value = np.asarray(folds(*(each.parameter for each in of))).item()
        if np.isfinite(value):
            return Node(VALUE, parameter=value)
    return node._replace(of=of)


def _condition(node: Node) -> Compute:
    compute, kind = _any(node), _kind(node)
    if kind not in (None, "truth"):
        raise Invalid(f"has a {kind} where something true or false was expected")
    return compute if kind else _checked(compute, "b", "true or false")


def _any(node: Node) -> Compute:
    return _COMPILERS[node.operation](node)


def _kind(node: Node) -> Kind | None:
    """Return what a node gives; None where only the values will tell."""
    name = node.operation
    if name in LOGICAL or name in COMPARING or name in TESTING:
        return "truth"
    if name in ARITHMETIC or name in AGGREGATES:
        return "truth" if node.parameter == "bool" else "number"
    if name == VALUE:
        if isinstance(node.parameter, str):
            return "text"
        return "truth" if isinstance(node.parameter, bool) else "number"
    return (_kind(node.of[0]) or _kind(node.of[1])) if name == "fill_null" else None


def _number(node: Node) -> Compute:
    compute, kind = _any(node), _kind(node)
    if kind == "text":
        raise Invalid("computes with a text")
    if kind == "number" and (node.operation in nullable.COMPUTING or node.operation == VALUE):
        return compute

    def number(rows: Rows) -> Value:
        values, nulls = compute(rows)
        return nullable.widened(values), nulls

    return number


def _checked(compute: Compute, kinds: str, wanted: str) -> Compute:
    def checked(rows: Rows) -> Value:
        value = compute(rows)
        if value[0].dtype.kind not in kinds:
            raise CannotCompute(f"{wanted} was expected where there is something else")
        return value

    return checked


def _value(node: Node) -> Compute:
    literal = node.parameter
    value = (np.bool_(literal) if isinstance(literal, bool) else literal), None
    return lambda _: value


# Columns and their elements


def _column(node: Node) -> Compute:
    lists = _lists(node)
    return lambda rows: _plain(lists(rows))


def _plain(array: Array) -> Value:
    """Return the values of a column, or of its lists of one value."""
    if array.ndim > 1:
        if array.size != len(array):
            raise CannotCompute(
                f"there are lists of shape {list(array.shape[1:])} where a value was expected: "
                "name one of their elements"
            )
        array = array.reshape(-1)
    return nullable.as_texts(array) if array.dtype.kind == "O" else (array, None)


def _lists(node: Node) -> Lists:
    """Return what gives a column, or elements that may be lists themselves, as they are."""
    if node.operation == COLUMN:
        group, _, name = node.parameter.partition(".")
        return lambda rows: rows.column(group, name)
    if node.operation not in ELEMENTS:
        raise Invalid("looks into a list where there is none")
    lists, at = _lists(node.of[0]), node.parameter

    def element(rows: Rows) -> Array:
        array = _nested(lists(rows))
        if _has(array, at):
            return array[:, at]
        if node.operation == "element_or_null":
            return array[:, :0]  # of no list, as of an empty one, every element is null
        raise CannotCompute(f"a list of {array.shape[1]} has no element {at}")

    return element


def _nested(array: Array) -> Array:
    """Return an array whose second axis is the list; a value is a list of one."""
    return array if array.ndim > 1 else array[:, np.newaxis]


def _has(array: Array, at: int) -> bool:
    return bool(-array.shape[1] <= at < array.shape[1])


def _element_or_null(node: Node) -> Compute:
    lists, at = _lists(node.of[0]), node.parameter

    def element(rows: Rows) -> Value:
        array = _nested(lists(rows))
        if not _has(array, at):
            return np.full(rows.count, "" if array.dtype.kind == "O" else 0, array.dtype), ALL
        return _plain(array[:, at])

    return element


def _aggregate(node: Node) -> Compute:
    lists, name = _lists(node.of[0]), node.operation

    def aggregate(rows: Rows) -> Value:
        array = _nested(lists(rows))
        if name == "list_length":
            return np.full(rows.count, array.shape[1]), None
        if array.ndim > 2 or array.dtype.kind not in "iufb":
            raise CannotCompute("a list of numbers was expected")
        if name == "list_sum":
            return array.sum(axis=1), None
        if not array.shape[1]:
            return np.zeros(rows.count), ALL
        return nullable.AGGREGATES[name](array), None

    return aggregate


# Operations


def _logical(node: Node) -> Compute:
    function = nullable.LOGICAL[node.operation]
    of = [_condition(each) for each in node.of]
    return lambda rows: function(*[each(rows) for each in of])


def _comparison(node: Node) -> Compute:
    compare = nullable.COMPARING[node.operation]
    left, right = (_any(each) for each in node.of)
    _refuse_mixed({_kind(each) for each in node.of}, "compares")

    def comparison(rows: Rows) -> Value:
        one, nulls = left(rows)
        other, unknown = right(rows)
        if nullable.is_text(one) != nullable.is_text(other):
            raise CannotCompute("a text is compared with what is none")
        return compare(one, other), either(nulls, unknown)

    return comparison


def _refuse_mixed(kinds: set[Kind | None], does: str) -> None:
    if "text" in kinds and kinds & {"number", "truth"}:
        raise Invalid(f"{does} a text with what is none")


def _is_null(node: Node) -> Compute:
    compute = _any(node.of[0])

    def is_null(rows: Rows) -> Value:
        nulls = compute(rows)[1]
        return (NONE if nulls is None else nulls), None

    return is_null


def _among(node: Node) -> Compute:
    compute, wanted = _any(node.of[0]), frozenset(node.parameter)
    of_texts = {isinstance(each, str) for each in wanted}
    if len(of_texts) > 1:
        raise Invalid("has texts and others in one list of values")

    def among(rows: Rows) -> Value:
        value = compute(rows)
        if of_texts - {nullable.is_text(value[0])}:
            raise CannotCompute("a text is compared with what is none")
        return nullable.among(value, wanted)

    return among


def _text_test(node: Node) -> Compute:
    if _kind(node.of[0]) not in (None, "text"):
        raise Invalid("looks into a text where there is none")
    compute = _checked(_any(node.of[0]), "OUT", "a text")
    look, wanted = nullable.LOOKING[node.operation], node.parameter
    return lambda rows: nullable.texts_with(look, compute(rows), wanted)


def _computed(node: Node) -> Compute:
    function = nullable.COMPUTING[node.operation]
    of = [_number(each) for each in node.of]
    if len(of) == 2:
        left, right = of

        def compute_both(rows: Rows) -> Value:
            one, nulls = left(rows)
            other, unknown = right(rows)
            return function(one, other), either(nulls, unknown)

        return compute_both
    [only] = of

    def compute(rows: Rows) -> Value:
        values, nulls = only(rows)
        return function(values), nulls

    return compute


def _divided(node: Node) -> Compute:
    function = nullable.DIVIDING[node.operation]
    left, right = (_number(each) for each in node.of)
    return lambda rows: nullable.divided(function, left(rows), right(rows))


def _cast(node: Node) -> Compute:
    compute, dtype = _number(node.of[0]), np.dtype(node.parameter)
    is_strict = node.operation == "cast"

    def cast(rows: Rows) -> Value:
        values, nulls, unfit = nullable.cast(compute(rows), dtype)
        if is_strict:
            rows.failed = either(rows.failed, unfit)
            return values, nulls
        return values, either(nulls, unfit)

    return cast


def _fill_null(node: Node) -> Compute:
    first, second = (_any(each) for each in node.of)
    _refuse_mixed({_kind(each) for each in node.of}, "fills")

    def fill_null(rows: Rows) -> Value:
        values, nulls = first(rows)
        if nulls is None:
            return values, None
        other, unknown = second(rows)
        if nullable.is_text(values) != nullable.is_text(other):
            raise CannotCompute("a text is filled with what is none")
        return np.where(nulls, other, values), None if unknown is None else nulls & unknown

    return fill_null


_COMPILERS: Mapping[str, Callable[[Node], Compute]] = {
    COLUMN: _column,
    VALUE: _value,
    **dict.fromkeys(LOGICAL, _logical),
    **dict.fromkeys(COMPARING, _comparison),
    **dict.fromkeys(nullable.COMPUTING, _computed),
    **dict.fromkeys(nullable.DIVIDING, _divided),
    **dict.fromkeys(nullable.LOOKING, _text_test),
    **dict.fromkeys(AGGREGATES, _aggregate),
    "is_null": _is_null,
    "in": _among,
    "cast": _cast,
    "cast_or_null": _cast,
    "element": _column,
    "element_or_null": _element_or_null,
    "fill_null": _fill_null,
}
