"""Tensors: what a model declares, and how what a caller sent becomes that, exactly or not."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import hypot
from typing import Any

import numpy as np
import numpy.typing as npt

from gnomon.core import limits
from gnomon.core.errors import InputMismatch

Array = npt.NDArray[Any]

STRING = "string"

# dtype name -> (ONNX type as ONNX Runtime prints it, tag of the vendor's JSON format)
DTYPES: Mapping[str, tuple[str, str]] = {
    "float32": ("tensor(float)", "Float"),
    "float64": ("tensor(double)", "Double"),
    "float16": ("tensor(float16)", "Half"),
    "int8": ("tensor(int8)", "Int8"),
    "int16": ("tensor(int16)", "Int16"),
    "int32": ("tensor(int32)", "Int32"),
    "int64": ("tensor(int64)", "Int64"),
    "uint8": ("tensor(uint8)", "Uint8"),
    "uint16": ("tensor(uint16)", "Uint16"),
    "uint32": ("tensor(uint32)", "Uint32"),
    "uint64": ("tensor(uint64)", "Uint64"),
    "bool": ("tensor(bool)", "Bool"),
    STRING: ("tensor(string)", "String"),
}
DTYPE_OF_ONNX = {onnx: name for name, (onnx, _) in DTYPES.items()}
DTYPE_OF_TAG = {tag: name for name, (_, tag) in DTYPES.items()}
_NAME_OF_NUMPY = {np.dtype(name): name for name in DTYPES if name != STRING}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model, as the model declares it.

    Attributes:
        name: Name in the model's graph.
        dtype: A key of `DTYPES`.
        shape: One entry per axis; None where the model leaves the size open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        axes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} [{axes}]"

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TensorSpec:
        """Read what `to_json` wrote."""
        return cls(name=value["name"], dtype=value["dtype"], shape=tuple(value["shape"]))


def dtype_name(array: Array) -> str:
    """Return the key of `DTYPES` for an array; text of any width is `string`.

    Raises:
        InputMismatch: The array holds something no model takes (objects, dates, complex numbers).
    """
    usual = _NAME_OF_NUMPY.get(array.dtype)  # numpy works a name out anew each time it is asked
    if usual is not None:
        return usual
    if array.dtype.kind in "UT" or (array.dtype.kind == "O" and _all_text(array)):
        return STRING
    name = array.dtype.name
    if name not in DTYPES:
        raise InputMismatch(f"Values of type {name} cannot be fed to a model.", found=name)
    return name


def _all_text(array: Array) -> bool:
    return all(type(value) is str for value in array.flat)


def array_of(value: object, *, name: str) -> Array:
    """Turn nested lists, as JSON has them, into an array without changing a value.

    numpy alone would take ragged lists, turn "1.5" into a number, null into NaN and true into 1
    beside other numbers; here each of these is refused.

    Args:
        value: Nested lists of numbers, strings or booleans, one kind only; or an array.
        name: The column, for messages.

    Returns:
        An array of int64, uint64, float64, bool, or object holding str.

    Raises:
        InputMismatch: Ragged, empty of values below the first axis, mixed, null or nested objects.
    """
    if isinstance(value, np.ndarray):
        return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
    kinds = _kinds(value, name)
    if len(kinds) > 1 and kinds != {int, float}:
        found = " and ".join(sorted(_KIND_NAMES.get(kind, kind.__name__) for kind in kinds))
        raise InputMismatch(
            f"Column {name!r} holds {found}; all of its values must be of one kind.",
            column=name,
            found=found,
        )
    kind = next(iter(kinds), float)
    if kind not in (bool, int, float, str):
        found = _KIND_NAMES.get(kind, kind.__name__)
        raise InputMismatch(
            f"Column {name!r} holds {found}; numbers, strings or booleans were expected.",
            column=name,
            found=found,
        )
    try:
        array = np.array(value, dtype=object if kind is str else None)
    except (ValueError, OverflowError) as error:
        raise _ragged(name) from error
    if kinds == {int} and array.dtype.kind not in "iu":
        array = _uint64(value, name)  # numpy makes floats of 0 beside 2^63
    if len(kinds) > 1:
        _check_rounded(array, value, name)
    if array.dtype.kind == "O" and kind is not str:
        raise _too_large(name)
    if kind is str and not _all_text(array):
        raise _ragged(name)
    if array.ndim > limits.TENSOR_RANK_MAX or array.size > limits.TENSOR_ELEMENTS_MAX:
        raise InputMismatch(
            f"Column {name!r} has {array.ndim} axes and {array.size} values; at most "
            f"{limits.TENSOR_RANK_MAX} axes and {limits.TENSOR_ELEMENTS_MAX} values are taken.",
            column=name,
        )
    return array


def _uint64(value: object, name: str) -> Array:
    try:
        return np.array(value, dtype=np.uint64)
    except OverflowError:
        raise _too_large(name) from None


def _check_rounded(array: Array, value: object, name: str) -> None:
    """Refuse an integer that numpy has rounded because a float stands beside it."""
    if not array.size or np.abs(array).max() < _EXACT_TO:
        return
    exact = np.array(value, dtype=object)
    for before, after in zip(exact.flat, array.flat, strict=True):
        if type(before) is int and int(after) != before:
            raise InputMismatch(
                f"Column {name!r} holds the integer {before}, which would be rounded, because "
                "floats stand beside it.",
                column=name,
            )


_EXACT_TO = 2.0**53  # every integer below is a float64 of its own


def _too_large(name: str) -> InputMismatch:
    return InputMismatch(f"Column {name!r} holds an integer that fits no 64-bit type.", column=name)


_KIND_NAMES = {
    bool: "booleans",
    int: "integers",
    float: "floats",
    str: "strings",
    type(None): "null",
    dict: "objects",
}


def _kinds(value: object, name: str) -> set[type]:
    """Return the Python types of the innermost values; refuse lists of unequal depth."""
    level: list[Any] = value if isinstance(value, list) else [value]
    for _ in range(limits.TENSOR_RANK_MAX + 1):
        kinds = set(map(type, level))
        if list not in kinds:
            return kinds
        if len(kinds) > 1:
            raise _ragged(name)
        level = list(chain.from_iterable(level))
    raise InputMismatch(
        f"Column {name!r} is nested deeper than {limits.TENSOR_RANK_MAX} lists.", column=name
    )


def _ragged(name: str) -> InputMismatch:
    return InputMismatch(
        f"Column {name!r} is ragged: its lists must all have the same length.", column=name
    )


def cast(array: Array, dtype: str, *, name: str, model: str) -> Array:
    """Give `array` the type a model declares, if no value is changed by more than rounding.

    float64 goes into float32 and float16 (a finite value that would become infinite is
    refused), integers into any type that holds each of them exactly. Floats never become
    integers, strings never become numbers, booleans stay booleans.

    Raises:
        InputMismatch: Otherwise.
    """
    found = dtype_name(array)
    if found == dtype:
        return array
    to_float, to_int = dtype.startswith("float"), dtype.startswith(("int", "uint"))
    from_float, from_int = found.startswith("float"), found.startswith(("int", "uint"))
    if array.size == 0 and found != STRING and dtype != STRING:
        return array.astype(dtype)
    if from_float and to_float:
        with np.errstate(over="ignore"):
            result = array.astype(dtype)
        finite = np.isfinite(result)
        if not finite.all() and not np.array_equal(finite, np.isfinite(array)):
            raise _unfit(name, model, dtype, f"a {found} value too large for it")
        return result
    if from_int and (to_int or to_float):
        with np.errstate(over="ignore", invalid="ignore"):
            result = array.astype(dtype)
            exact = _round_trips(array, result)
        if not exact:
            raise _unfit(name, model, dtype, f"an {found} value it cannot hold exactly")
        return result
    raise _unfit(name, model, dtype, found, hint=" Cast it before calling.")


def can_cast(found: str, dtype: str) -> bool:
    """Say whether there are values of one type that `cast` makes values of another."""
    to_number = dtype.startswith(("float", "int", "uint"))
    return found == dtype or (
        (found.startswith("float") and dtype.startswith("float"))
        or (found.startswith(("int", "uint")) and to_number)
    )


def _round_trips(array: Array, result: Array) -> bool:
    """Say whether each integer survived; comparing as Python integers is exact at any size."""
    if not np.isfinite(result).all():
        return False
    if array.size <= 64 or result.dtype.kind == "f":
        pairs = zip(array.ravel().tolist(), result.ravel().tolist(), strict=True)
        return all(before == after for before, after in pairs)
    bounds = np.iinfo(result.dtype)
    return bool(int(array.min()) >= bounds.min and int(array.max()) <= bounds.max)


def _unfit(name: str, model: str, expected: str, found: str, hint: str = "") -> InputMismatch:
    return InputMismatch(
        f"{model}: input {name!r} must be {expected}, got {found}.{hint}",
        model=model,
        column=name,
        expected=expected,
        found=found,
    )


def float32_rows(value: object, width: int, *, floats: int = -1) -> Array | None:
    """Turn rows of `width` floats into a float32 array in one pass: the commonest input by far.

    Args:
        floats: How many values there are, if each of them is known to be a float as it was sent;
            negative: nothing is known, and they are looked at.

    Returns:
        What `array_of` and `conform` would give for an input of float32 [?, width], read-only;
        None where they have to decide, or to say what is wrong.
    """
    if type(value) is not list or not value or not width:
        return None
    count = len(value) * width
    for row in value:
        if type(row) is not list or len(row) != width:
            return None
        if floats != count and (set(map(type, row)) != _FLOATS_ONLY or hypot(*row) >= INEXACT_FROM):
            return None
    try:
        if count > _PACKED_VALUES_MAX:
            return _float32(value)
        # Quicker than numpy, and it refuses a number too large for float32.
        packed = _packer(count).pack(*(value[0] if len(value) == 1 else chain.from_iterable(value)))
    except (OverflowError, ValueError, TypeError, struct.error):
        return None
    return np.ndarray((len(value), width), _FLOAT32, packed)


_FLOATS_ONLY = {float}
_FLOAT32 = np.dtype(np.float32)
_PACKED_VALUES_MAX = 64 * limits.KIB
# From here on a float may be an integer that its reader could not hold: no 64-bit type can.
INEXACT_FROM = 2.0**63


@lru_cache(maxsize=1_024)
def _packer(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")  # "<": native packing would not see an overflow


def _float32(rows: list[list[float]]) -> Array | None:
    with np.errstate(over="ignore"):
        array = np.array(rows, np.float32)
    if array.ndim != 2 or not np.isfinite(array).all():
        return None
    array.flags.writeable = False
    return array


def conform(array: Array, spec: TensorSpec, *, name: str, model: str) -> Array:
    """Give `array` the type and shape of `spec`, or say what does not fit.

    A column of plain values is taken for an input of shape [?, 1]: each row has one value. A
    single row is taken for an input that has no rows: its value is the whole tensor.

    Raises:
        InputMismatch: The type cannot be converted exactly, or the shape differs.
    """
    array = cast(array, spec.dtype, name=name, model=model)
    if array.ndim == 1 and len(spec.shape) == 2 and spec.shape[1] == 1:
        array = array.reshape(-1, 1)
    has_rows = array.ndim == len(spec.shape) + 1 and spec.shape[:1] != (None,)
    if has_rows and len(array) == 1:
        array = array.reshape(array.shape[1:])
    fits = array.ndim == len(spec.shape) and all(
        wanted is None or wanted == size
        for wanted, size in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        hint = " It takes no rows: send each of them in a request of its own." if has_rows else ""
        raise InputMismatch(
            f"{model}: input {name!r} must have shape {_axes(spec.shape)}, "
            f"got {_axes(array.shape)}.{hint}",
            model=model,
            column=name,
            expected=_axes(spec.shape),
            found=_axes(array.shape),
        )
    return np.ascontiguousarray(array) if array.ndim else array


def _axes(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def widest(dtypes: set[str]) -> str:
    """Return the type that holds every value of all of `dtypes`: what a shared column is logged as.

    Numbers that no common type holds exactly (int64 beside float32) go to float64.
    """
    if len(dtypes) == 1:
        return next(iter(dtypes))
    if STRING in dtypes:
        return STRING
    return np.result_type(*(np.dtype(dtype) for dtype in sorted(dtypes))).name
