"""`{"tensor": [[...]]}` and other named inputs in JSON: one result object for the request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from gnomon.core import limits
from gnomon.core.binding import resolve, takes_rows
from gnomon.core.errors import InputMismatch
from gnomon.core.routing import ServedModel
from gnomon.core.tensors import Array, TensorSpec
from gnomon.front.codecs import answer_arrow, answer_records, json_text
from gnomon.front.codecs.columns import JsonColumns
from gnomon.front.codecs.document import Document
from gnomon.front.codecs.table import Inputs
from gnomon.front.codecs.wanted import Format

if TYPE_CHECKING:
    import pyarrow as pa


class NamedTensors(Document):
    """A JSON object: input name to nested lists.

    Raises:
        MalformedRequest: A name stands twice.
        InputMismatch: More names than a request may have tensors.
    """

    __slots__ = ("_body",)

    strict = True
    format = Format.NAMED_TENSORS

    def __init__(self, parsed: dict[str, Any], body: bytes) -> None:
        if len(parsed) > limits.TENSORS_PER_REQUEST_MAX:
            raise InputMismatch(
                f"The request has {len(parsed)} inputs; at most "
                f"{limits.TENSORS_PER_REQUEST_MAX} are taken."
            )
        is_one = json_text.has_one_key_and_no_texts(body)
        if not is_one:
            json_text.refuse_doubled_keys(body, (parsed,))
        super().__init__(JsonColumns(parsed, body, keys=int(is_one)), None)
        self._body = body

    def original(self) -> Any:
        """Return what was sent, to the last digit."""
        return orjson.Fragment(self._body)

    def by_row(self, champion: ServedModel) -> tuple[int, Inputs]:
        """Return the rows of the champion's inputs; one if it takes no rows."""
        signature = champion.signature
        fields = resolve(self.columns, signature, champion.tensor_fields, model=str(champion))
        specs = dict(zip(fields, signature.inputs, strict=True))
        sizes = [len(self.columns[name]) for name, spec in specs.items() if _has_rows(spec)]
        rows = sizes[0] if takes_rows(signature) else 1
        return rows, _Rows(
            {name: _by_row(self.columns[name], spec, rows) for name, spec in specs.items()}
        )


class _Rows:
    """Named tensors whose first axis is the row."""

    read_ns = 0

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def names(self) -> Iterable[str]:
        return self._arrays

    def cells(self, name: str) -> Sequence[Any]:
        return answer_records.cells(self._arrays[name])

    def objects(self) -> None:
        return None

    def arrow(self, name: str) -> tuple[pa.Array, bool]:
        return answer_arrow.arrow(self._arrays[name]), False


def _has_rows(spec: TensorSpec) -> bool:
    return bool(spec.shape) and spec.shape[0] is None


def _by_row(array: Array, spec: TensorSpec, rows: int) -> Array:
    """Return an array with the row as its first axis; what has none is the same in each row."""
    if _has_rows(spec) or (rows == 1 and spec.shape[:1] == (1,) and array.ndim == len(spec.shape)):
        return array
    return np.broadcast_to(array, (rows, *array.shape))
