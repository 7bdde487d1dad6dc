"""Conditions on the columns of a log, as SQL has them: parsed here, and evaluated on Arrow arrays.

Nothing of a condition reaches a database. There is what the grammar has, and nothing else:

    condition  = conjunction {OR conjunction}
    conjunction = term {AND term}
    term       = NOT term | sum [comparison]
    comparison = ("=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") sum
               | IS [NOT] NULL | [NOT] IN "(" literal {"," literal} ")" | [NOT] BETWEEN sum AND sum
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = "-" factor | ABS "(" sum ")" | "(" condition ")" | literal | column {"[" n "]"}
    column     = a name in double quotes; lists count from 1
    literal    = a number, a text in single quotes, TRUE or FALSE
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.tensors import Array

Columns = Mapping[str, pa.Array]
Value = Any  # an Arrow array, or a scalar
Evaluate = Callable[[Columns], Value]

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*')
    |(?P<column>"(?:[^"]|"")+")|(?P<word>[A-Za-z]+)|(?P<sign><>|!=|<=|>=|[=<>+\-*/()\[\],]))""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Value, Value], Value]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_SUMS: dict[str, Callable[[Value, Value], Value]] = {"+": pc.add, "-": pc.subtract}
_PRODUCTS: dict[str, Callable[[Value, Value], Value]] = {"*": pc.multiply, "/": pc.divide}
_GROUPS = ("time", "in", "out", "anomaly", "metadata")


class Where:
    """A condition.

    Args:
        text: In the grammar above.

    Attributes:
        text: As it was given.

    Raises:
        Invalid: It is not; the message says what was found where.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._evaluate = _Parser(text).parse()

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
            found = self._evaluate(_Known(columns, rows.num_rows))
            if not pa.types.is_boolean(found.type):
                raise Invalid("where is no condition: it is neither true nor false.")
            if isinstance(found, pa.Scalar):
                return np.full(rows.num_rows, found.as_py() is True)
            return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise Invalid(f"where cannot be computed: {str(error).splitlines()[0]}") from error


class _Known(dict[str, pa.Array]):
    """Columns by name; one that these rows do not have is null."""

    def __init__(self, columns: Columns, rows: int) -> None:
        super().__init__(columns)
        self._rows = rows

    def __missing__(self, name: str) -> pa.Array:
        return pa.nulls(self._rows)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        end = len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                raise Invalid(f"where cannot be read from {text[at : at + 20]!r} on.")
            kind = str(found.lastgroup)
            word = found[kind]
            self._tokens.append((kind, word.upper() if kind == "word" else word))
            at = found.end()
        self._at = 0
        self._depth = 0

    def parse(self) -> Evaluate:
        condition = self._condition()
        if self._at < len(self._tokens):
            raise self._unexpected("AND, OR or the end")
        return condition

    # Tokens

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "the end")

    def _takes(self, *wanted: str) -> str | None:
        kind, text = self._next()
        if kind in ("word", "sign") and text in wanted:
            self._at += 1
            return text
        return None

    def _needs(self, wanted: str) -> None:
        if self._takes(wanted) is None:
            raise self._unexpected(repr(wanted))

    def _unexpected(self, wanted: str) -> Invalid:
        return Invalid(f"where has {self._next()[1][:40]!r} where {wanted} was expected.")

    # Grammar

    def _condition(self) -> Evaluate:
        self._depth += 1
        if self._depth > limits.LOG_WHERE_DEPTH_MAX:
            raise Invalid("where is nested too deeply.")
        found = self._conjunction()
        while self._takes("OR"):
            found = _both(pc.or_kleene, found, self._conjunction())
        self._depth -= 1
        return found

    def _conjunction(self) -> Evaluate:
        found = self._term()
        while self._takes("AND"):
            found = _both(pc.and_kleene, found, self._term())
        return found

    def _term(self) -> Evaluate:
        negations = 0
        while self._takes("NOT"):
            negations += 1
        found = self._compared(self._sum())
        return _one(pc.invert, found) if negations % 2 else found

    def _compared(self, left: Evaluate) -> Evaluate:
        sign = self._takes(*_COMPARISONS)
        if sign:
            return _both(_comparable(_COMPARISONS[sign]), left, self._sum())
        if self._takes("IS"):
            is_not = self._takes("NOT")
            self._needs("NULL")
            return _one(pc.is_valid if is_not else pc.is_null, left)
        is_not = self._takes("NOT")
        if self._takes("IN"):
            found = self._among(left)
        elif self._takes("BETWEEN"):
            found = _both(_comparable(pc.greater_equal), left, self._sum())
            self._needs("AND")
            found = _both(
                pc.and_kleene, found, _both(_comparable(pc.less_equal), left, self._sum())
            )
        elif is_not:
            raise self._unexpected("IN or BETWEEN")
        else:
            return left
        return _one(pc.invert, found) if is_not else found

    def _among(self, left: Evaluate) -> Evaluate:
        self._needs("(")
        found = _both(_comparable(pc.equal), left, self._literal())
        while self._takes(","):
            other = _both(_comparable(pc.equal), left, self._literal())
            found = _both(pc.or_kleene, found, other)
        self._needs(")")
        return found

    def _sum(self) -> Evaluate:
        found = self._product()
        while sign := self._takes(*_SUMS):
            found = _both(_SUMS[sign], found, self._product())
        return found

    def _product(self) -> Evaluate:
        found = self._factor()
        while sign := self._takes(*_PRODUCTS):
            found = _both(_as_floats(_PRODUCTS[sign]), found, self._factor())
        return found

    def _factor(self) -> Evaluate:
        negations = 0
        while self._takes("-"):
            negations += 1
        found = self._primary()
        return _one(pc.negate, found) if negations % 2 else found

    def _primary(self) -> Evaluate:
        if self._takes("("):
            found = self._condition()
            self._needs(")")
            return found
        if self._takes("ABS"):
            self._needs("(")
            found = self._condition()
            self._needs(")")
            return _one(pc.abs, found)
        kind, text = self._next()
        if kind != "column":
            return self._literal()
        self._at += 1
        name = text[1:-1].replace('""', '"')
        group = name.partition(".")[0]
        if group not in _GROUPS and not group.startswith("out_"):
            raise Invalid(
                f"where names the column {name[:80]!r}; there are time, in.*, out.*, "
                "out_<label>.*, anomaly.count and metadata.*."
            )
        found = _column(name)
        while self._takes("["):
            kind, text = self._next()
            if kind != "number" or not text.isdecimal() or int(text) < 1:
                raise self._unexpected("a place in a list, from 1 on,")
            self._at += 1
            self._needs("]")
            found = _one(_element(int(text)), found)
        return found

    def _literal(self) -> Evaluate:
        kind, text = self._next()
        sign = -1 if kind == "sign" and text == "-" else 1
        if sign < 0:
            self._at += 1
            kind, text = self._next()
        self._at += 1
        if kind == "number":
            number = float(text) if re.search(r"[.eE]", text) else int(text)
            return _constant(sign * number)
        if kind == "text" and sign > 0:
            return _constant(text[1:-1].replace("''", "'"))
        if text in ("TRUE", "FALSE") and sign > 0:
            return _constant(text == "TRUE")
        self._at -= 1
        raise self._unexpected("a number, a text in '...' or a column in \"...\"")


def _constant(value: object) -> Evaluate:
    return lambda _: pa.scalar(value)


def _column(name: str) -> Evaluate:
    return lambda columns: columns[name]


def _one(function: Callable[[Value], Value], value: Evaluate) -> Evaluate:
    return lambda columns: function(value(columns))


def _both(function: Callable[[Value, Value], Value], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda columns: function(left(columns), right(columns))


def _comparable(function: Callable[[Value, Value], Value]) -> Callable[[Value, Value], Value]:
    """Take a text beside a time for a time."""

    def compare(left: Value, right: Value) -> Value:
        return function(_as_time(left, right.type), _as_time(right, left.type))

    return compare


def _as_time(value: Value, beside: pa.DataType) -> Value:
    if not pa.types.is_timestamp(beside) or not pa.types.is_string(value.type):
        return value
    moment = datetime.fromisoformat(value.as_py())
    return pa.scalar(moment if moment.tzinfo else moment.replace(tzinfo=UTC), beside)


def _as_floats(function: Callable[[Value, Value], Value]) -> Callable[[Value, Value], Value]:
    return lambda left, right: function(left.cast(pa.float64()), right.cast(pa.float64()))


def _element(place: int) -> Callable[[Value], Value]:
    """Return what gives the value at a place of each list; null where a list is shorter."""

    def element(lists: Value) -> Value:
        if pa.types.is_null(lists.type):
            return lists
        if not pa.types.is_list(lists.type):
            raise TypeError(f"[{place}] stands behind what is no list")
        offsets = lists.offsets.to_numpy()
        at = offsets[:-1].astype(np.int64) + place - 1
        absent = at >= offsets[1:]
        validity = pa.py_buffer(np.packbits(~absent, bitorder="little"))
        indices = pa.Array.from_buffers(pa.int64(), len(at), [validity, pa.py_buffer(at)])
        return lists.values.take(indices)

    return element
