"""What is sent: rows in one body, or halves of them where that would be larger than one may be."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, InputMismatch
from gnomon.sdk.rows import nested

if TYPE_CHECKING:
    import pyarrow as pa

_ESTIMATED_TOO_LARGE = 2  # times what a body may have
_JSON_ARRAYS_BYTES_MAX = 64 * limits.KIB


class Part(ABC):
    """Rows that belong together.

    Attributes:
        headers: What the body is, and what the answer shall be if that is something else.
        rows: How many, or 1 if what is there cannot be parted.
    """

    headers: Mapping[str, str]
    rows: int

    def body(self) -> bytes:
        """Return the request body.

        Raises:
            BodyTooLarge: It is more than one request may have.
            InputMismatch: A value is one that no body can carry.
        """
        if self.rows > 1 and self._is_surely_too_large():
            raise BodyTooLarge("The rows have to be sent in several requests.")
        body = self._encode()
        if len(body) > limits.INFER_BODY_BYTES_MAX:
            what = "The input" if self.rows > 1 else "A row"
            raise BodyTooLarge(
                f"{what} has {len(body)} bytes; one request may have {limits.INFER_BODY_BYTES_MAX}."
            )
        return body

    @abstractmethod
    def halves(self) -> tuple[Self, Self]:
        """Return the first half of the rows, and the second."""

    @abstractmethod
    def _is_surely_too_large(self) -> bool:
        """Say whether encoding it would be in vain."""

    @abstractmethod
    def _encode(self) -> bytes:
        """Return the body, however large it is."""


class Rows(Part):
    """A table.

    Args:
        accept: Media type of the answer; None: a table, too.
    """

    def __init__(self, table: pa.Table, accept: str | None = None) -> None:
        self._table = table
        self._accept = accept
        as_what = {} if accept is None else {"Accept": accept}
        self.headers = {"Content-Type": "application/vnd.apache.arrow.stream", **as_what}
        self.rows = table.num_rows

    def halves(self) -> tuple[Rows, Rows]:
        half = self.rows // 2
        first, second = self._table.slice(0, half), self._table.slice(half)
        return Rows(first, self._accept), Rows(second, self._accept)

    def _is_surely_too_large(self) -> bool:
        return self._table.nbytes > limits.INFER_BODY_BYTES_MAX or any(map(_is_long, self._columns))

    @property
    def _columns(self) -> list[pa.ChunkedArray]:
        columns: list[pa.ChunkedArray] = self._table.columns
        return columns

    def _encode(self) -> bytes:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._table.schema) as writer:
            writer.write_table(self._table.combine_chunks())
        body: bytes = sink.getvalue().to_pybytes()
        return body


def _is_long(column: pa.ChunkedArray) -> bool:
    """Say whether a column has more values than a request may: those of a bit or none are many."""
    import pyarrow as pa

    values, kind = len(column), column.type
    while pa.types.is_fixed_size_list(kind):
        values, kind = values * kind.list_size, kind.value_type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    values_max = limits.TENSOR_ELEMENTS_MAX if is_number else limits.TEXT_VALUES_MAX
    return bool(values > values_max)


def arrays_as_rows(tensors: Mapping[str, Any]) -> Rows | None:
    """Return arrays that JSON cannot carry, or not well, as a table: NaN, infinities, many values.

    Returns:
        The first axis is the row; the answer shall be as to named tensors. None for other values,
        and for arrays that are better sent as JSON: it is checked more strictly.
    """
    arrays = list(tensors.values())
    if not all(
        isinstance(each, np.ndarray) and each.dtype.kind in "fiub" and each.ndim and each.size
        for each in arrays
    ):
        return None
    rows, size = {len(each) for each in arrays}, sum(each.nbytes for each in arrays)
    if len(rows) != 1 or (size <= _JSON_ARRAYS_BYTES_MAX and is_finite(tensors)):
        return None
    import pyarrow as pa

    table = pa.table({name: nested(array) for name, array in tensors.items()})
    return Rows(table, accept="application/json; format=named-tensors")


def is_finite(tensors: Mapping[str, Any]) -> bool:
    """Say whether no array has NaN or an infinite value."""
    return all(np.isfinite(array).all() for array in tensors.values())


class NamedTensors(Part):
    """Nested lists or arrays by name; their rows are parted where all have the same number.

    Raises:
        InputMismatch: A name is not text.
    """

    headers = MappingProxyType({"Content-Type": "application/json"})

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        for name in tensors:
            if not isinstance(name, str):
                raise InputMismatch(f"An input's name must be text, got {type(name).__name__}.")
        self._tensors = dict(tensors)
        counts = {_rows(tensor) for tensor in tensors.values()}
        self.rows = counts.pop() if len(counts) == 1 else 1

    def halves(self) -> tuple[NamedTensors, NamedTensors]:
        half = self.rows // 2
        return self._slice(slice(half)), self._slice(slice(half, None))

    def _slice(self, wanted: slice) -> NamedTensors:
        return NamedTensors({name: tensor[wanted] for name, tensor in self._tensors.items()})

    def _is_surely_too_large(self) -> bool:
        a_row = to_json(self._slice(slice(1))._tensors)
        return len(a_row) * self.rows > _ESTIMATED_TOO_LARGE * limits.INFER_BODY_BYTES_MAX

    def _encode(self) -> bytes:
        return to_json(self._tensors)


def _rows(tensor: Any) -> int:
    if isinstance(tensor, np.ndarray):
        return len(tensor) if tensor.ndim else 1
    return len(tensor) if isinstance(tensor, list | tuple) else 1


def to_json(value: Any) -> bytes:
    """Return JSON, exactly or not at all.

    Raises:
        InputMismatch: A value is NaN, infinite, or of a type that no model takes.
    """
    with contextlib.suppress(orjson.JSONEncodeError):
        body = orjson.dumps(value, default=_plain)
        if b"null" not in body:  # as which orjson writes what JSON has no word for
            return body
    try:
        return json.dumps(value, allow_nan=False, default=_plain).encode()
    except ValueError as error:
        raise InputMismatch(
            "The input holds NaN or an infinite value, which JSON cannot carry. Fill or drop "
            "these values before calling, or send a frame: Arrow carries them."
        ) from error
    except RecursionError as error:
        raise InputMismatch("The input is nested too deeply.") from error


def _plain(value: object) -> Any:
    """Turn numpy values into what JSON has."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiubUO":
        return value.tolist()
    raise InputMismatch(
        f"A value of type {type(value).__name__} cannot be fed to a model; numbers, strings and "
        "booleans can."
    )
