"""A request's columns by name, made into arrays when first asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from gnomon.core import limits
from gnomon.core.errors import InputMismatch
from gnomon.core.tensors import INEXACT_FROM, Array, array_of, float32_rows
from gnomon.front.codecs import json_text


class Columns(Mapping[str, Array]):
    """Column name to array; a column that is no tensor is refused only where one is needed.

    Args:
        values: What the request has under each name.
    """

    __slots__ = ("_arrays", "_values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        if len(values) > limits.COLUMNS_PER_REQUEST_MAX:
            raise InputMismatch(
                f"The request has {len(values)} columns; at most "
                f"{limits.COLUMNS_PER_REQUEST_MAX} are taken."
            )
        self._values = values
        self._arrays: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        array = self._arrays.get(name)
        if array is None:
            array = self._arrays[name] = self._array(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @abstractmethod
    def _array(self, name: str) -> Array:
        """Make a column's array; raise InputMismatch if it is no tensor."""

    @abstractmethod
    def loggable(self, name: str) -> Array:
        """Return a column that feeds no model: as it is, or as texts if it is no tensor.

        Raises:
            InputMismatch: It is too large or too deep for that.
        """

    def float32_rows(self, name: str, width: int) -> Array | None:  # noqa: ARG002
        """Return a column as float32 [?, width] if that takes one pass; see `core/tensors.py`."""
        return None


class JsonColumns(Columns):
    """The columns of a JSON body.

    Args:
        values: Nested lists by name.
        body: They were read from.
        keys: How often the only key stands in it, if there is but one and no texts; else 0.
    """

    __slots__ = ("_body", "_keys")

    def __init__(self, values: Mapping[str, Any], body: bytes, *, keys: int = 0) -> None:
        super().__init__(values)
        self._body = body
        self._keys = keys

    def rows(self, start: int, stop: int) -> JsonColumns:
        """Return some of the rows."""
        values = {name: rows[start:stop] for name, rows in self._values.items()}
        return JsonColumns(values, self._body, keys=self._keys)

    def float32_rows(self, name: str, width: int) -> Array | None:
        """Return a column as float32 [?, width] if that takes one pass; see `core/tensors.py`."""
        floats, keys = -1, self._keys
        if keys:
            # No number has more than one dot, so with a dot for each value all of them are floats.
            floats = json_text.count(self._body, b".") - keys * name.count(".")
        return float32_rows(self._values[name], width, floats=floats)

    def _array(self, name: str) -> Array:
        array = array_of(self._values[name], name=name)
        if array.dtype.kind == "f" and array.size and not _is_within(array):
            json_text.refuse_long_integers(self._body)
        return array

    def loggable(self, name: str) -> Array:
        """Return a column that feeds no model: as it is, or as JSON texts if it is no tensor.

        Raises:
            InputMismatch: It is nested deeper than `limits.JSON_DEPTH_MAX`, or holds an integer
                that fits no 64-bit type.
        """
        try:
            return self[name]
        except InputMismatch:
            values = self._values[name]
        cells = values if isinstance(values, list) else [values]
        if not _is_shallow(cells, limits.JSON_DEPTH_MAX):
            raise InputMismatch(
                f"Column {name[:80]!r} is nested deeper than {limits.JSON_DEPTH_MAX} levels.",
                column=name[:80],
            )
        texts = np.empty(len(cells), dtype=object)
        texts[:] = [orjson.dumps(cell).decode() for cell in cells]
        if any(map(_is_huge, cells)):
            json_text.refuse_long_integers(self._body)
        return texts


def _is_within(array: Array) -> bool:
    return bool(array.min() > -INEXACT_FROM and array.max() < INEXACT_FROM)


def _is_huge(value: object) -> bool:
    """Say whether a number of this size, or nested values with one, may have been an integer."""
    if isinstance(value, dict):
        return any(map(_is_huge, value.values()))
    if isinstance(value, list):
        return any(map(_is_huge, value))
    return isinstance(value, float) and abs(value) >= INEXACT_FROM


def _is_shallow(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_shallow(part, depth - 1) for part in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_shallow(part, depth - 1) for part in value)
    return True
