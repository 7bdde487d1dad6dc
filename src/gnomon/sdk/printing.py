"""What a terminal is shown: JSON documents, tables, and text that somebody else chose."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any


def print_json(document: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document; on one line if `indent` is None."""
    text = json.dumps(_finite(document), indent=indent, allow_nan=False, default=str)
    print(text, flush=indent is None)


def _finite(value: Any) -> Any:
    """Return JSON values with null for what JSON has no word for: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns, each as wide as its widest cell."""
    for line in table_lines(headings, rows):
        print(line)


def table_lines(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Container[int] = ()
) -> list[str]:
    """Return the lines of a table, each column as wide as its widest cell.

    Args:
        right: Columns, from 0, whose cells are at the right, as numbers should be.
    """
    lines = [tuple(headings), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def padded(line: tuple[str, ...]) -> Iterator[str]:
        for index, (text, width) in enumerate(zip(line, widths, strict=True)):
            yield text.rjust(width) if index in right else text.ljust(width)

    return ["  ".join(padded(line)).rstrip() for line in lines]


def printable(value: object) -> str:
    """Return text without control characters: what models and callers name is shown, not obeyed."""
    text = "-" if value is None else str(value)
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
