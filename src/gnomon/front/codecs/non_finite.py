"""NaN and the infinities: JSON has no words for them; `null` stands there, and a note beside."""

from __future__ import annotations

import math

import numpy as np

from gnomon.core.tensors import Array

PLAIN_ELEMENTS_MAX = 64  # up to here Python numbers are quicker than numpy's
_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def is_finite(array: Array) -> bool:
    """Say whether an array has none of them; one that is not of floats has none."""
    if array.dtype.kind != "f":
        return True
    if array.size > PLAIN_ELEMENTS_MAX:
        return bool(np.isfinite(array).all())
    values = array.reshape(-1).tolist()
    return math.isfinite(sum(values)) or all(map(math.isfinite, values))


def words(array: Array) -> dict[str, str]:
    """Return by flat index, as text, what each of them is."""
    flat = array.reshape(-1)
    indices = np.flatnonzero(~np.isfinite(flat))
    values = flat[indices].astype("float64").tolist()  # as Python's: "nan", "inf", "-inf"
    return {
        str(index): _WORDS[str(value)]
        for index, value in zip(indices.tolist(), values, strict=True)
    }
