"""What every format has in common: a request becomes columns, a result becomes an answer."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from gnomon.core import limits
from gnomon.core.errors import ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array
from gnomon.front.codecs.columns import Columns


class Answer(NamedTuple):
    """The bytes of an answer, further header lines, each ended by CRLF, and what the bytes are."""

    body: bytes
    headers: bytes = b""
    content_type: bytes = b"application/json"


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


def challengers_header(result: Result) -> bytes:
    """Return the header line that says how each challenger fared; none without challengers."""
    if not result.route.challengers:
        return b""
    views = result.challenger_views()
    for view in views.values():
        if view["error"] is not None:
            view["error"] = view["error"][: limits.ERROR_TEXT_CHARS_MAX]
    # json, because a header takes ASCII only, and it escapes the rest
    text = json.dumps(views, separators=(",", ":"), ensure_ascii=True)
    return f"X-Gnomon-Challengers: {text}\r\n".encode()


def by_row(outputs: tuple[Array, ...], rows: int) -> bool:
    """Say whether outputs can be split into one part for each row."""
    return all(array.ndim and len(array) == rows for array in outputs)


def check_by_row(champion: Observation, rows: int) -> None:
    """Raise ModelFailed if an output cannot be split into one part for each row."""
    assert champion.outputs is not None
    for spec, array in zip(champion.model.signature.outputs, champion.outputs, strict=True):
        if not array.ndim or len(array) != rows:
            raise ModelFailed(
                f"{champion.model}: output {spec.name!r} has shape {list(array.shape)}, which "
                f"cannot be split into {rows} rows. Send the input as named tensors, "
                '{"<input>": [...]}, to get it whole.',
                model=str(champion.model),
            )


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
