"""What every format has in common: a request becomes columns, a result becomes an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gnomon.core.inference import Observation
from gnomon.core.routing import Route, ServedModel
from gnomon.front.codecs import answer_arrow, answer_records, answer_tensors
from gnomon.front.codecs.columns import Columns
from gnomon.front.codecs.result import Answer, Result, check_row_outputs
from gnomon.front.codecs.table import Inputs, check_wanted
from gnomon.front.codecs.wanted import DEFAULT, Format, Wanted


class Document(ABC):
    """One request's body, read.

    Attributes:
        columns: By name; the first axis is the row.
        rows: Input rows; None where the first input's first axis tells it.
        strict: Columns that feed nothing are refused.
        format: That it came in.
    """

    __slots__ = ("columns", "rows")

    strict = False
    format: Format

    def __init__(self, columns: Columns, rows: int | None) -> None:
        self.columns = columns
        self.rows = rows

    @abstractmethod
    def original(self) -> Any:
        """Return what was sent, for orjson with OPT_SERIALIZE_NUMPY."""

    @abstractmethod
    def by_row(self, champion: ServedModel) -> tuple[int, Inputs]:
        """Return the number of rows, and the request row by row as this model takes it.

        Raises:
            InputMismatch: The columns do not fit the model.
        """

    def check_wanted(self, wanted: Wanted, route: Route) -> None:
        """Refuse a wish that the answer cannot meet; asked once the columns are known to fit.

        Raises:
            InputMismatch: The dataset names what there is not, or leaves nothing, or there are
                too many rows for it.
        """
        kind = wanted.format(self.format)
        if kind is Format.NAMED_TENSORS or (wanted.is_whole and kind is self.format):
            return
        rows, inputs = self.by_row(route.champion)
        check_wanted(wanted, route, rows, inputs, kind)

    def check_outputs(self, champion: Observation, wanted: Wanted = DEFAULT) -> None:
        """Raise ModelFailed if the format of the answer cannot carry the champion's outputs."""
        if wanted.format(self.format) is not Format.NAMED_TENSORS:
            check_row_outputs(champion, self.by_row(champion.model)[0])

    def answer(self, result: Result) -> Answer:
        """Return the answer in the format that is wanted, or that the request came in."""
        wanted = result.wanted.format(self.format)
        if wanted is Format.NAMED_TENSORS:
            original = None if "in" in result.wanted.dataset_exclude else self.original()
            return answer_tensors.answer(result, original)
        rows, inputs = self.by_row(result.champion.model)
        if wanted is Format.RECORDS:
            return answer_records.answer(result, rows, inputs)
        return answer_arrow.answer(result, rows, inputs, is_file=wanted is Format.ARROW_FILE)
