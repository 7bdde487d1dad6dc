"""Expressions as data: the JSON tree in which conditions travel and are kept.

A node is an object with one operation and what it works on:

    {"less": [{"element": [{"column": "out.dense_1"}], "at": 0}, {"value": 0.5}]}

There is what `OPERATIONS` has, and nothing else. A tree is read anew wherever it comes from
outside: from a caller, from the database, in a routing table.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gnomon.core import limits
from gnomon.core.errors import Invalid

COLUMN, VALUE, CONVERTED = "column", "value", ("cast", "cast_or_null")
NUMBER_TYPES = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "bool"),
)


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation takes.

    Attributes:
        least, most: How many nodes.
        parameter: Key of what it takes beside them; None: nothing.
    """

    least: int
    most: int
    parameter: str | None = None


_MANY = limits.EXPRESSION_NODES_MAX
_ONE, _TWO = Operation(1, 1), Operation(2, 2)

# Of one or several that are true, false or null (unknown): null where it would decide.
LOGICAL = {"and": Operation(1, _MANY), "or": Operation(1, _MANY), "xor": _TWO, "not": _ONE}
# NaN is equal to NaN and greater than all else, as in databases.
COMPARING = dict.fromkeys(
    ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), _TWO
)
TESTING = {
    **dict.fromkeys(("is_null", "is_nan", "is_finite", "is_infinite"), _ONE),
    "in": Operation(1, 1, "values"),
    **dict.fromkeys(("starts_with", "ends_with", "contains"), Operation(1, 1, "text")),
}
ARITHMETIC = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "modulo", "floor_divide"), _TWO),
    **dict.fromkeys(("negate", "abs"), _ONE),
    **dict.fromkeys(CONVERTED, Operation(1, 1, "to")),
}
# Places count from 0, and from the end below it. Where a list is shorter, `element` cannot be
# computed, and `element_or_null` is null.
ELEMENTS = dict.fromkeys(("element", "element_or_null"), Operation(1, 1, "at"))
AGGREGATES = dict.fromkeys(
    (
        *("list_length", "list_sum", "list_mean", "list_max", "list_min"),
        *("list_arg_max", "list_arg_min"),
    ),
    _ONE,
)
OPERATIONS: Mapping[str, Operation] = {
    **LOGICAL,
    **COMPARING,
    **TESTING,
    **ARITHMETIC,
    **ELEMENTS,
    **AGGREGATES,
    "fill_null": _TWO,
}
_PARAMETERS = frozenset(filter(None, (each.parameter for each in OPERATIONS.values())))


class Node(NamedTuple):
    """A node of a tree that has been read.

    Attributes:
        operation: Of `OPERATIONS`, or `COLUMN`, or `VALUE`.
        of: What it works on.
        parameter: The name of the column, the value, or what the operation takes beside `of`.
    """

    operation: str
    of: tuple[Node, ...] = ()
    parameter: Any = None


@dataclass(frozen=True, slots=True)
class Known:
    """Which columns an expression may name.

    Attributes:
        groups: What stands before the dot; "out_" stands for whatever begins with it.
        told: The same for messages.
    """

    groups: frozenset[str]
    told: str

    def check(self, name: object, what: str) -> str:
        """Return the name of a column.

        Raises:
            Invalid: It is none of them; `what` is told to name it.
        """
        if isinstance(name, str) and len(name) <= limits.EXPRESSION_TEXT_CHARS_MAX:
            group, _, field = name.partition(".")
            is_known = group in self.groups or (group.startswith("out_") and "out_" in self.groups)
            if is_known and (field or group == "time"):
                return name
        raise Invalid(f"{what} names the column {reprlib.repr(name)}; there are {self.told}.")


CHECKED = Known(frozenset({"in", "out"}), "in.<field> and out.<field>")


def read(tree: object, what: str, known: Known = CHECKED) -> Node:
    """Read a tree that anybody may have made.

    Args:
        what: It is, as the subject of messages: "The validation 'fraud'".

    Raises:
        Invalid: It is none, has an operation or a column that there is not, or is too large.
    """
    return _Reader(what, known).read(tree, 1)


def columns_of(node: Node) -> set[str]:
    """Return the names of the columns that an expression reads."""
    return {each.parameter for each in walk(node) if each.operation == COLUMN}


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.of


class _Reader:
    def __init__(self, what: str, known: Known) -> None:
        self._what = what
        self._known = known
        self._left = limits.EXPRESSION_NODES_MAX

    def read(self, tree: object, depth: int) -> Node:
        if depth > limits.EXPRESSION_DEPTH_MAX:
            raise Invalid(f"{self._what} is nested too deeply.")
        self._count(1)
        if not isinstance(tree, dict) or not tree:
            raise self._odd("a node", tree)
        if tree.keys() == {COLUMN}:
            return Node(COLUMN, parameter=self._column(tree[COLUMN]))
        if tree.keys() == {VALUE}:
            return Node(VALUE, parameter=self._value(tree[VALUE]))
        name = next((key for key in tree if key not in _PARAMETERS), "")
        operation = OPERATIONS.get(name) if isinstance(name, str) else None
        if operation is None:
            raise Invalid(f"{self._what} has the operation {str(name)[:80]!r}, which there is not.")
        wanted = {name} if operation.parameter is None else {name, operation.parameter}
        of = tree[name]
        if tree.keys() != wanted or not isinstance(of, list):
            raise self._odd(f"an operation {name!r}", tree)
        if not operation.least <= len(of) <= operation.most:
            raise Invalid(f"{self._what} has {name!r} of {len(of)}, which it does not take.")
        parameter = None
        if operation.parameter is not None:
            parameter = _READERS[operation.parameter](self, tree[operation.parameter])
        return Node(name, tuple([self.read(each, depth + 1) for each in of]), parameter)

    def _count(self, nodes: int) -> None:
        self._left -= nodes
        if self._left < 0:
            raise Invalid(
                f"{self._what} is too large: at most {limits.EXPRESSION_NODES_MAX} columns, "
                "values and operations are taken."
            )

    def _column(self, name: object) -> str:
        return self._known.check(name, self._what)

    def _value(self, value: object) -> bool | int | float | str:
        if isinstance(value, bool):
            return value
        if isinstance(value, int) and -(2**63) <= value < 2**64:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, str):
            return self._text(value)
        raise self._odd("a number, a text, true or false", value)

    def _text(self, text: object) -> str:
        if isinstance(text, str) and len(text) <= limits.EXPRESSION_TEXT_CHARS_MAX:
            return text
        raise self._odd(f"a text of up to {limits.EXPRESSION_TEXT_CHARS_MAX} characters", text)

    def _values(self, values: object) -> tuple[Any, ...]:
        if not isinstance(values, list):
            raise self._odd("a list of values", values)
        self._count(len(values))
        return tuple(map(self._value, values))

    def _place(self, place: object) -> int:
        if type(place) is int and abs(place) < 2**31:
            return place
        raise self._odd("a place in a list", place)

    def _type(self, name: object) -> str:
        if isinstance(name, str) and name in NUMBER_TYPES:
            return name
        raise self._odd("a type of numbers", name)

    def _odd(self, wanted: str, found: object) -> Invalid:
        return Invalid(f"{self._what} has {reprlib.repr(found)} where {wanted} was expected.")


_READERS: dict[str, Callable[[_Reader, object], Any]] = {
    "values": _Reader._values,
    "text": _Reader._text,
    "at": _Reader._place,
    "to": _Reader._type,
}
