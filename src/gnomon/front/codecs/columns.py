"""A request's columns by name, made into arrays when first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import orjson

from gnomon.core import limits
from gnomon.core.errors import InputMismatch
from gnomon.core.tensors import Array, array_of, float32_rows


class Columns(Mapping[str, Array]):
    """Column name to array; a column that is no tensor is refused only where one is needed.

    Args:
        values: What the request has under each name: nested lists or an array.
    """

    __slots__ = ("_arrays", "_values")

    def __init__(self, values: Mapping[str, object]) -> None:
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
            array = self._arrays[name] = array_of(self._values[name], name=name)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def float32_rows(self, name: str, width: int) -> Array | None:
        """Return a column as float32 [?, width] if that takes one pass; see `core/tensors.py`."""
        return float32_rows(self._values[name], width)

    def loggable(self, name: str) -> Array:
        """Return a column that feeds no model: as it is, or as JSON texts if it is no tensor.

        Raises:
            InputMismatch: It is nested deeper than `limits.JSON_DEPTH_MAX`.
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
        return texts


def _is_shallow(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_shallow(part, depth - 1) for part in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_shallow(part, depth - 1) for part in value)
    return True
