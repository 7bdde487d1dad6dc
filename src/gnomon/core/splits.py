"""Which of a split's models answers: chance, the hash of a value, or a value itself. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Any

import numpy as np

from gnomon.core.errors import InputMismatch
from gnomon.core.plan import Split
from gnomon.core.tensors import Array

MODEL_SPLIT = "_model_split"  # the output that says which models were chosen

_HASH_BYTES = 8


def by_chance(split: Split, request_id: str, step: int) -> int:
    """Return the option for a request: each has its share, and steps decide independently."""
    return _at(split.shares, _unit(f"{step}\0{request_id}"))


def by_value(split: Split, value: Any) -> int:
    """Return the option for a value of `split.column`: the same value finds the same option.

    A number from 0 to 1 is taken for the random number itself; of all others the text is hashed.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return _at(split.shares, float(value))
    return _at(split.shares, _unit(key_text(value)))


def by_key(split: Split, values: Sequence[Any]) -> list[int]:
    """Return the option that each value names; the first one for a value that names none."""
    assert split.values is not None
    return [split.values.get(key_text(value), 0) for value in values]


def key_text(value: Any) -> str:
    """Return a value as the text that options are named by: 1 and 1.0 are "1", True is "true"."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def values_of(column: str, array: Array, rows: int | None) -> list[Any]:
    """Return the value of a split's column in each row.

    Args:
        array: One value a row; lists of one value are taken for that value.
        rows: How many there must be; None: any number, but one.

    Raises:
        InputMismatch: There is not one value for each row.
    """
    values: list[Any] = array.reshape(-1).tolist()
    if not values or array.shape[:1] != (len(values),) or rows not in (None, len(values)):
        raise InputMismatch(
            f"Column {column[:80]!r} decides which model answers: it must have one value for "
            f"each row, got the shape {list(array.shape)}.",
            column=column[:80],
        )
    return values


def _at(shares: tuple[float, ...], number: float) -> int:
    return bisect_right(_bounds(shares), number)


@lru_cache(maxsize=1_000)
def _bounds(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return where each option but the last ends; rounding must find none that has no share."""
    last = max(index for index, share in enumerate(shares) if share)
    return tuple(accumulate(shares[:last]))


def _unit(text: str) -> float:
    """Return a number in [0, 1) that looks random, always the same for a text."""
    digest = blake2b(f"split\0{text}".encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest) / (1 << 8 * _HASH_BYTES)
