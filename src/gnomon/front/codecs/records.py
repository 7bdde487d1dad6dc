"""pandas records, `[{"column": value, ...}, ...]`: one result object for each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gnomon.core.errors import InputMismatch, MalformedRequest
from gnomon.core.routing import ServedModel
from gnomon.front.codecs import answer_arrow, json_text
from gnomon.front.codecs.columns import JsonColumns
from gnomon.front.codecs.document import Document
from gnomon.front.codecs.table import Inputs, check_records
from gnomon.front.codecs.wanted import Format

if TYPE_CHECKING:
    import pyarrow as pa


class Records(Document):
    """A list of JSON objects with the same keys; columns that feed nothing are echoed and logged.

    Raises:
        MalformedRequest: A row is no object, or has a key twice.
        InputMismatch: There are no rows, or too many, or a row has other keys than the first.
    """

    __slots__ = ("_records", "_values", "read_ns")

    format = Format.RECORDS

    def __init__(self, records: list[Any], body: bytes) -> None:
        check_records(len(records), 1)
        self._values = _columns(records)
        json_text.refuse_doubled_keys(body, records)
        rows = len(records)
        is_bare = len(self._values) == 1 and json_text.count(body, b'"') == 2 * rows
        super().__init__(JsonColumns(self._values, body, keys=rows if is_bare else 0), rows)
        self._records: list[dict[str, Any]] = records
        self.read_ns = 0

    def original(self) -> Any:
        """Return the columns, each a list with a value a row."""
        return self._values

    def by_row(self, champion: ServedModel) -> tuple[int, Inputs]:  # noqa: ARG002
        """Return the rows as they were sent."""
        return len(self._records), self

    def names(self) -> Iterable[str]:
        """Return the names of the columns."""
        return self._values

    def cells(self, name: str) -> Sequence[Any]:
        """Return a column as it was sent."""
        return self._values[name]

    def objects(self) -> Sequence[dict[str, Any]]:
        """Return the rows as they were sent."""
        return self._records

    def arrow(self, name: str) -> tuple[pa.Array, bool]:
        """Return a column as it is logged: what is no tensor is JSON text."""
        return answer_arrow.arrow(self.columns.loggable(name)), False


def _columns(records: list[Any]) -> dict[str, list[Any]]:
    if not records:
        raise InputMismatch("The request has no rows.")
    first = records[0]
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise MalformedRequest(
                f"Row {number} is no JSON object; records are a list of objects, one per row: "
                '[{"column": value, ...}, ...].'
            )
        if record.keys() != first.keys():
            odd = sorted(record.keys() ^ first.keys())[0]
            lacking = number if odd in first else 0
            raise InputMismatch(
                f"Row {lacking} has no {odd[:80]!r}; all rows must have the same columns.",
                column=odd[:80],
                row=lacking,
            )
    return {name: [record[name] for record in records] for name in first}
