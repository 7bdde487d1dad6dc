"""One request as it is read from the log; written it is part of a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gnomon.core.inference import Observation
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedInference:
    """A request with the champion's answer; the attributes are those of `InferenceEntry`.

    Attributes:
        inputs: The request's own rows.
        champion: Its outputs are of this request only; its times are those of the run.
        sampled: The challengers whose observation was to follow.
    """

    request_id: str
    time_us: int
    rows: int
    route: Route
    inputs: Mapping[str, Array]
    champion: Observation
    sampled: tuple[ServedModel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedObservation:
    """What a challenger did with one request.

    Attributes:
        observation: Its outputs are of this request only; its times are those of the run.
    """

    request_id: str
    rows: int
    route: Route
    observation: Observation
