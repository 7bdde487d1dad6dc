"""pandas records, `[{"column": value, ...}, ...]`: one result object for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from gnomon.core.errors import InputMismatch, MalformedRequest
from gnomon.core.inference import Observation, Status
from gnomon.front.codecs.columns import Columns
from gnomon.front.codecs.document import (
    Answer,
    Document,
    Result,
    by_row,
    challengers_header,
    check_by_row,
)


class Records(Document):
    """A list of JSON objects with the same keys; columns that feed nothing are echoed and logged.

    Raises:
        MalformedRequest: A row is no object.
        InputMismatch: There are no rows, or a row has other keys than the first.
    """

    __slots__ = ("_records",)

    def __init__(self, records: list[Any]) -> None:
        super().__init__(_columns(records), len(records))
        self._records = records

    def check_outputs(self, champion: Observation) -> None:
        """Raise ModelFailed if an output cannot be split into one part for each row."""
        check_by_row(champion, len(self._records))

    def answer(self, result: Result) -> Answer:
        """Return one object per row; float32 in its own shortest text."""
        champion, rows = result.champion, len(self._records)
        outputs = self._rows_of(champion)
        shadows = {
            f"out_{model.label}": self._shadow_rows(model.signature.outputs, observation)
            for model, observation in sorted(
                zip(result.route.challengers, result.challengers, strict=True),
                key=lambda pair: pair[0].label,
            )
        }
        answer = [
            {
                "time": result.time_ms,
                "in": self._records[row],
                "out": outputs[row],
                "anomaly": {"count": 0},
                **{name: shadow[row] for name, shadow in shadows.items()},
            }
            for row in range(rows)
        ]
        body = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        return Answer(body, challengers_header(result))

    def _rows_of(self, observation: Observation) -> list[dict[str, Any]]:
        """Split outputs by row: a list of one dict per row."""
        assert observation.outputs is not None
        specs = observation.model.signature.outputs
        cells = [
            # orjson takes neither texts in an array nor an array that is not C-contiguous
            array.tolist() if array.dtype.kind == "O" else list(np.ascontiguousarray(array))
            for array in observation.outputs
        ]
        names = [spec.name for spec in specs]
        return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]

    def _shadow_rows(
        self, specs: tuple[Any, ...], observation: Observation | None
    ) -> list[dict[str, Any]]:
        if observation is not None and observation.status is Status.OK:
            assert observation.outputs is not None
            if by_row(observation.outputs, len(self._records)):
                return self._rows_of(observation)
        empty = {spec.name: None for spec in specs}
        return [empty] * len(self._records)


def _columns(records: list[Any]) -> Columns:
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
    return Columns({name: [record[name] for record in records] for name in first})
