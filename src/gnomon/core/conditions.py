"""Conditions as SQL has them, made into the tree of `core/expression_trees.py`.

Nothing of a condition reaches a database. There is what the grammar has, and nothing else:

    condition  = conjunction {OR conjunction}
    conjunction = term {AND term}
    term       = NOT term | sum [comparison]
    comparison = ("=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") sum
               | IS [NOT] NULL | [NOT] IN "(" literal {"," literal} ")" | [NOT] BETWEEN sum AND sum
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = "-" factor | (ABS | ISNAN) "(" condition ")" | "(" condition ")" | literal
               | column {"[" n "]"}
    column     = a name in double quotes, or words with dots between them; lists count from 1
    literal    = a number, a text in single quotes, TRUE or FALSE
"""

from __future__ import annotations

import re
from typing import Any

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.expression_trees import CHECKED, Known

Tree = dict[str, Any]

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*')
    |(?P<column>"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+)
    |(?P<word>[A-Za-z]+)|(?P<sign><>|!=|<=|>=|[=<>+\-*/()\[\],]))""",
    re.VERBOSE,
)
_PLACE = re.compile(r"0*[1-9][0-9]{0,8}")
_NUMBER_CHARS_MAX = 40
_COMPARISONS = {
    "=": "equal",
    "<>": "not_equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_SUMS = {"+": "add", "-": "subtract"}
_PRODUCTS = {"*": "multiply", "/": "divide"}
_FUNCTIONS = {"ABS": "abs", "ISNAN": "is_nan"}


def parse(text: str, what: str, known: Known = CHECKED) -> Tree:
    """Make the tree of a condition.

    Args:
        text: In the grammar above.
        what: It is, as the subject of messages.
        known: Which columns it may name.

    Raises:
        Invalid: It is no condition; the message says what was found where.
    """
    return _Parser(text, what, known).parse()


class _Parser:
    def __init__(self, text: str, what: str, known: Known) -> None:
        if len(text) > limits.CONDITION_CHARS_MAX:
            raise Invalid(f"{what} has more than {limits.CONDITION_CHARS_MAX} characters.")
        self._what = what
        self._known = known
        self._tokens: list[tuple[str, str]] = []
        at = 0
        end = len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                raise Invalid(f"{what} cannot be read from {text[at : at + 20]!r} on.")
            kind = str(found.lastgroup)
            word = found[kind]
            self._tokens.append((kind, word.upper() if kind == "word" else word))
            at = found.end()
        self._at = 0
        self._depth = 0

    def parse(self) -> Tree:
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
        return Invalid(f"{self._what} has {self._next()[1][:40]!r} where {wanted} was expected.")

    # Grammar

    def _condition(self) -> Tree:
        self._depth += 1
        if self._depth > limits.CONDITION_DEPTH_MAX:
            raise Invalid(f"{self._what} is nested too deeply.")
        found = [self._conjunction()]
        while self._takes("OR"):
            found.append(self._conjunction())
        self._depth -= 1
        return _joined("or", found)

    def _conjunction(self) -> Tree:
        found = [self._term()]
        while self._takes("AND"):
            found.append(self._term())
        return _joined("and", found)

    def _term(self) -> Tree:
        negations = 0
        while self._takes("NOT"):
            negations += 1
        found = self._compared(self._sum())
        return {"not": [found]} if negations % 2 else found

    def _compared(self, left: Tree) -> Tree:
        sign = self._takes(*_COMPARISONS)
        if sign:
            return {_COMPARISONS[sign]: [left, self._sum()]}
        if self._takes("IS"):
            is_not = self._takes("NOT")
            self._needs("NULL")
            found: Tree = {"is_null": [left]}
            return {"not": [found]} if is_not else found
        is_not = self._takes("NOT")
        if self._takes("IN"):
            found = self._among(left)
        elif self._takes("BETWEEN"):
            low = self._sum()
            self._needs("AND")
            found = between(left, low, self._sum())
        elif is_not:
            raise self._unexpected("IN or BETWEEN")
        else:
            return left
        return {"not": [found]} if is_not else found

    def _among(self, left: Tree) -> Tree:
        self._needs("(")
        found: list[Tree] = [{"equal": [left, self._literal()]}]
        while self._takes(","):
            found.append({"equal": [left, self._literal()]})
        self._needs(")")
        return _joined("or", found)

    def _sum(self) -> Tree:
        found = self._product()
        while sign := self._takes(*_SUMS):
            found = {_SUMS[sign]: [found, self._product()]}
        return found

    def _product(self) -> Tree:
        found = self._factor()
        while sign := self._takes(*_PRODUCTS):
            found = {_PRODUCTS[sign]: [found, self._factor()]}
        return found

    def _factor(self) -> Tree:
        negations = 0
        while self._takes("-"):
            negations += 1
        found = self._primary()
        if not negations % 2:
            return found
        number = found.get("value")
        if isinstance(number, int | float) and not isinstance(number, bool):
            return {"value": -number}
        return {"negate": [found]}

    def _primary(self) -> Tree:
        if self._takes("("):
            found = self._condition()
            self._needs(")")
            return found
        function = self._takes(*_FUNCTIONS)
        if function:
            self._needs("(")
            found = self._condition()
            self._needs(")")
            return {_FUNCTIONS[function]: [found]}
        kind, text = self._next()
        if kind != "column":
            return self._literal()
        self._at += 1
        name = text[1:-1].replace('""', '"') if text.startswith('"') else text
        found = {"column": self._known.check(name, self._what)}
        while self._takes("["):
            kind, text = self._next()
            if kind != "number" or _PLACE.fullmatch(text) is None:
                raise self._unexpected("a place in a list, from 1 on,")
            self._at += 1
            self._needs("]")
            found = {"element_or_null": [found], "at": int(text) - 1}
        return found

    def _literal(self) -> Tree:
        kind, text = self._next()
        sign = -1 if kind == "sign" and text == "-" else 1
        if sign < 0:
            self._at += 1
            kind, text = self._next()
        self._at += 1
        if kind == "number" and len(text) <= _NUMBER_CHARS_MAX:
            number = float(text) if re.search(r"[.eE]", text) else int(text)
            return {"value": sign * number}
        if kind == "text" and sign > 0:
            return {"value": text[1:-1].replace("''", "'")}
        if text in ("TRUE", "FALSE") and sign > 0:
            return {"value": text == "TRUE"}
        self._at -= 1
        raise self._unexpected("a number, a text in '...' or a column in \"...\"")


def between(value: Tree, low: Tree, high: Tree, closed: str = "both") -> Tree:
    """Make the tree of a value between two others; `closed`: "both", "left", "right", "none"."""
    least = "greater_equal" if closed in ("both", "left") else "greater"
    most = "less_equal" if closed in ("both", "right") else "less"
    return {"and": [{least: [value, low]}, {most: [value, high]}]}


def _joined(operation: str, trees: list[Tree]) -> Tree:
    return trees[0] if len(trees) == 1 else {operation: trees}
