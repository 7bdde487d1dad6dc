"""Bodies that are `{"column": [[float, ...], ...]}`, many of them read at one go."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import orjson

from gnomon.front.codecs import json_text

_STARTS_MAX = 64


class Columns:
    """Knows by its first bytes which column a body has."""

    def __init__(self) -> None:
        self._by_start: dict[bytes, str] = {}

    def column(self, body: bytes) -> str | None:
        """Return the column of what looks like rows of floats; None of everything else.

        Only the first body of those that begin alike is read for that.
        """
        start = body[: body.find(b":") + 1]
        return self._by_start.get(start) or self._learn(start, body)

    def _learn(self, start: bytes, body: bytes) -> str | None:
        if not json_text.has_one_key_and_no_texts(body):
            return None
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(parsed) is not dict:
            return None
        [name] = parsed
        if len(self._by_start) >= _STARTS_MAX:
            self._by_start.clear()
        self._by_start[start] = name
        return str(name)


def read(bodies: Sequence[bytes], column: str) -> tuple[list[Any], list[int], int] | None:
    """Read bodies that all begin with the same column, as far as its colon.

    Returns:
        The rows of all bodies one after the other, how many each has, and how many of their
        values are floats for certain; None if one of the bodies is anything else than an object
        with some rows under that column alone. Whether these are rows of floats is not yet known.
    """
    count = len(bodies)
    text = bodies[0] if count == 1 else b",".join(bodies)
    # Each begins with a key, and there is no other text in any. So there are as many objects as
    # bodies only if each body is one: what one body leaves open no other can close.
    if json_text.count(text, b'"') != 2 * count:
        return None
    try:
        parsed = orjson.loads(b"[%b]" % text)
        values = [each[column] for each in parsed]
        counts = list(map(len, values))
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    if len(values) != count or not all(counts) or any(type(each) is not list for each in values):
        return None
    rows = values[0] if count == 1 else list(chain.from_iterable(values))
    # No number has two dots: with a dot for each value all of them are floats.
    return rows, counts, json_text.count(text, b".") - count * column.count(".")
