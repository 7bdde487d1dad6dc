"""Validations as users write them, made into data: polars expressions, and conditions as SQL.

A polars expression gives itself as JSON. That is read here by a list of what is taken, and written
as the tree of `core/expression_trees.py`; nothing of it is run, here or on a server, and whatever
is not on the list is refused by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import orjson

from gnomon.core import conditions
from gnomon.core.conditions import Tree, between
from gnomon.core.errors import Invalid
from gnomon.core.expression_trees import NUMBER_TYPES
from gnomon.core.expressions import parse
from gnomon.core.names import check_validation_name

_TAKEN = (
    "comparisons, &, |, ~, arithmetic, abs, cast to a number, fill_null, is_null, is_nan, "
    "is_finite, is_in, is_between, str.starts_with, str.ends_with, str.contains(literal=True), "
    "and of list and arr: get, first, last, len, sum, mean, max, min, arg_max, arg_min"
)


def expression(value: object, name: str) -> Tree:
    """Make the tree of a validation.

    Args:
        value: A `polars.Expr`, or a text: a condition in the grammar of `core/conditions.py`. Both
            name columns "in.<field>" and "out.<field>".
        name: The validation's name.

    Raises:
        Invalid: It is neither, or has an operation that no validation has, which the message
            names; or the name is not valid.
    """
    check_validation_name(name)
    what = f"The validation {name!r}"
    polars = sys.modules.get("polars")
    if isinstance(value, str):
        tree = conditions.parse(value, what)
    elif polars is not None and isinstance(value, polars.Expr):
        tree = _Reader(what).read(_json_of(value, what))
    else:
        raise Invalid(
            f"{what} must be a polars expression, as polars.col('out.dense_1').list.get(0) > 0.9, "
            f"or a text, as 'out.dense_1[1] > 0.9'; got {type(value).__name__}."
        )
    parse(tree, name)
    return tree


def _json_of(value: Any, what: str) -> Any:
    try:
        return orjson.loads(value.meta.serialize(format="json"))
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Invalid(f"{what} cannot be read: polars says {text!r}.") from error


class _Reader:
    """Reads one expression as polars 1 and 2 write them."""

    def __init__(self, what: str) -> None:
        self._what = what

    def read(self, node: object) -> Tree:
        """Return the tree of a node."""
        match node:
            case {"Column": str(name)}:
                return {"column": name}
            case {"Alias": [inner, str()]}:
                return self.read(inner)
            case {"Literal": literal}:
                return {"value": self._literal(literal)}
            case {"BinaryExpr": {"left": left, "op": str(sign), "right": right}}:
                return self._binary(sign, left, right)
            case {"Function": {"input": list(of), "function": function}}:
                return self._function(function, of)
            case {"Cast": {"expr": inner, "dtype": dtype, **rest}}:
                return self._cast(inner, dtype, rest.get("options", "Strict"))
        raise self._refused(_name_of(node))

    def _binary(self, sign: str, left: object, right: object) -> Tree:
        operation = _BINARY.get(sign)
        if operation is None:
            raise self._refused(sign)
        if sign not in _CHAINS:
            return {operation: [self.read(left), self.read(right)]}
        of = [right]  # a & b & c & ... is as deep as it is long
        while isinstance(left, dict) and left.get("BinaryExpr", {}).get("op") == sign:
            of.append(left["BinaryExpr"]["right"])
            left = left["BinaryExpr"]["left"]
        return {operation: [self.read(each) for each in (left, *reversed(of))]}

    def _function(self, function: object, of: list[object]) -> Tree:
        match function, of:
            case {"Boolean": {"IsIn": {"nulls_equal": False}}}, [value, {"Literal": literal}]:
                return {"in": [self.read(value)], "values": self._values(literal)}
            case {"Boolean": {"IsBetween": {"closed": str(closed)}}}, [value, low, high]:
                bounds = self.read(low), self.read(high)
                return between(self.read(value), *bounds, closed=closed.lower())
            case {"ListExpr": {"Get": bool(is_null)}} | {"ArrayExpr": {"Get": bool(is_null)}}, [
                lists,
                {"Literal": literal},
            ]:
                name = "element_or_null" if is_null else "element"
                return {name: [self.read(lists)], "at": self._literal(literal)}
            case {"StringExpr": {"Contains": {"literal": True}}}, [value, {"Literal": text}]:
                return {"contains": [self.read(value)], "text": self._literal(text)}
            case {"StringExpr": str(look)}, [value, {"Literal": text}] if look in _LOOKING:
                return {_LOOKING[look]: [self.read(value)], "text": self._literal(text)}
            case {"Boolean": str(test)}, [value] if test.startswith("IsNot"):
                return {"not": [self._function({"Boolean": test.replace("Not", "")}, [value])]}
        operation = _FUNCTIONS.get(_name_of(function))
        if operation is None:
            raise self._refused(_name_of(function))
        return {operation: [self.read(each) for each in of]}

    def _cast(self, inner: object, dtype: object, options: object) -> Tree:
        name = dtype["Literal"] if isinstance(dtype, dict) and "Literal" in dtype else dtype
        kind = str(name).lower()
        kind = "bool" if kind == "boolean" else kind
        if kind not in NUMBER_TYPES or options not in ("Strict", "NonStrict"):
            raise self._refused(f"cast to {_name_of(name)}")
        operation = "cast" if options == "Strict" else "cast_or_null"
        return {operation: [self.read(inner)], "to": kind}

    def _literal(self, literal: object) -> Any:
        match literal:
            case {"Dyn": {"Int": int(value)}} | {"Dyn": {"Float": float(value)}}:
                return value
            case {"Dyn": {"Float": None}}:
                raise Invalid(
                    f"{self._what} has a literal that is NaN or infinite; ask with is_nan() or "
                    "is_infinite()."
                )
            case {"Scalar": {"Null": _}}:
                raise Invalid(f"{self._what} has a literal that is null; ask with is_null().")
            case {"Scalar": dict(scalar)} if len(scalar) == 1:
                [(kind, value)] = scalar.items()
                if kind in _LITERALS and isinstance(value, bool | int | float | str):
                    return value
        raise self._refused(f"literal {_name_of(literal)}")

    def _values(self, literal: object) -> list[Any]:
        match literal:
            case {"Scalar": {"List": list(content)}} | {"Series": list(content)}:
                return self._column(content)
        raise self._refused("is_in of an expression")

    def _column(self, content: list[Any]) -> list[Any]:
        """Read the values of a series, which polars writes as an Arrow stream, without nulls."""
        import pyarrow as pa

        try:
            with pa.ipc.open_stream(bytes(content)) as stream:
                [column] = stream.read_all().columns
            values = column.to_pylist()
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise Invalid(f"{self._what} has a list of values that cannot be read.") from error
        if len(values) == 1 and isinstance(values[0], list):
            [values] = values
        return [value for value in values if value is not None]  # null is equal to nothing

    def _refused(self, operation: str) -> Invalid:
        return Invalid(
            f"{self._what} has the polars operation {operation[:80]!r}, which validations do not "
            f"have. They have {_TAKEN}."
        )


def _name_of(node: object) -> str:
    """Return what polars calls an operation: {"ListExpr": {"Std": 1}} is "ListExpr.Std"."""
    names: list[str] = []
    while isinstance(node, Mapping) and node:
        name, node = next(iter(node.items()))
        names.append(str(name))
    if isinstance(node, str):
        names.append(node)
    operations = takewhile(lambda name: name[:1].isupper(), names[:2])  # fields begin low
    return ".".join(operations) or type(node).__name__


_CHAINS = ("And", "Or")
_BINARY = {
    "And": "and",
    "Or": "or",
    "LogicalAnd": "and",
    "LogicalOr": "or",
    "Xor": "xor",
    "Eq": "equal",
    "NotEq": "not_equal",
    "Lt": "less",
    "LtEq": "less_equal",
    "Gt": "greater",
    "GtEq": "greater_equal",
    "Plus": "add",
    "Minus": "subtract",
    "Multiply": "multiply",
    "TrueDivide": "divide",
    "FloorDivide": "floor_divide",
    "Modulus": "modulo",
}
_LIST_FUNCTIONS = {
    "Length": "list_length",
    "Sum": "list_sum",
    "Mean": "list_mean",
    "Max": "list_max",
    "Min": "list_min",
    "ArgMax": "list_arg_max",
    "ArgMin": "list_arg_min",
}
_FUNCTIONS: Mapping[str, str] = {
    "Abs": "abs",
    "Negate": "negate",
    "FillNull": "fill_null",
    "Boolean.Not": "not",
    "Boolean.IsNull": "is_null",
    "Boolean.IsNan": "is_nan",
    "Boolean.IsFinite": "is_finite",
    "Boolean.IsInfinite": "is_infinite",
    "Boolean.AllHorizontal": "and",
    "Boolean.AnyHorizontal": "or",
    **{f"ListExpr.{name}": operation for name, operation in _LIST_FUNCTIONS.items()},
    **{f"ArrayExpr.{name}": operation for name, operation in _LIST_FUNCTIONS.items()},
}
_LOOKING = {"StartsWith": "starts_with", "EndsWith": "ends_with"}
_LITERALS = frozenset(
    {
        *("Boolean", "String", "StringOwned", "Float32", "Float64"),
        *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    }
)
