"""What every format has in common: a request becomes columns, a result becomes an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from gnomon.core.inference import Observation, Status
from gnomon.core.routing import Route, ServedModel
from gnomon.front.codecs.columns import Columns


class Answer(NamedTuple):
    """The bytes of an answer, and further header lines, each ended by CRLF."""

    body: bytes
    headers: bytes = b""


@dataclass(frozen=True, slots=True)
class Result:
    """What one request came to.

    Attributes:
        time_ms: When the request arrived, milliseconds since 1970.
        champion: Always ok.
        challengers: None where one has not ended.
    """

    route: Route
    request_id: str
    time_ms: int
    champion: Observation
    challengers: tuple[Observation | None, ...]

    def challenger_views(self) -> dict[str, dict[str, Any]]:
        """Return, by label, how each challenger fared, without its outputs."""
        return {
            model.label: _view(model, observation)
            for model, observation in zip(self.route.challengers, self.challengers, strict=True)
        }


def _view(model: ServedModel, observation: Observation | None) -> dict[str, Any]:
    view: dict[str, Any] = {
        "model_name": model.name,
        "model_version": model.uuid,
        "status": Status.PENDING,
        "error": None,
        "elapsed": 0,
    }
    if observation is not None:
        view["status"] = observation.status
        view["error"] = observation.error
        view["elapsed"] = observation.elapsed_ns
    return view


class Document(ABC):
    """One request's body, read.

    Attributes:
        columns: By name; the first axis is the row.
        rows: Input rows; None where the first input's first axis tells it.
        strict: Columns that feed nothing are refused.
    """

    __slots__ = ("columns", "rows")

    strict = False

    def __init__(self, columns: Columns, rows: int | None) -> None:
        self.columns = columns
        self.rows = rows

    def check_outputs(self, champion: Observation) -> None:  # noqa: B027 (most formats take all)
        """Raise ModelFailed if this format cannot carry the champion's outputs."""

    @abstractmethod
    def answer(self, result: Result) -> Answer:
        """Return the answer in the format that the request came in."""
