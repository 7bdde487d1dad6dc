"""One inference: what a model did with it, and what is logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array


class Status(StrEnum):
    """How one model fared with one request."""

    OK = "ok"
    ERROR = "error"  # the model raised, its host died, or it has none
    TIMEOUT = "timeout"  # no answer before its deadline
    DROPPED = "dropped"  # its queue was full
    SCHEMA = "schema"  # the input does not fit what it declares
    SKIPPED = "skipped"  # its breaker was open: it had failed too often in a row
    PENDING = "pending"  # still running when the answer left
    LOST = "lost"  # the front died before it ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one model did with one request: its outputs, or why there are none.

    The champion's observation becomes the answer; a challenger's is only ever shown and logged.

    Attributes:
        model: Which model version ran, and under which label.
        status: `outputs` is set exactly if this is `ok`; `error` exactly if it is another,
            except `pending`, which has neither.
        outputs: One array per output, in the order of the model's signature.
        error: What went wrong, in a sentence.
        elapsed_ns: Wall time of the run in the host, in nanoseconds, monotonic clock; 0 if it
            did not run.
        time_us: When it ended, microseconds since 1970.
        code: Code of the error in the tree, for the champion's answer.
    """

    model: ServedModel
    status: Status
    outputs: tuple[Array, ...] | None = None
    error: str | None = None
    elapsed_ns: int = 0
    time_us: int = 0
    code: str = "inference_failed"

    def __post_init__(self) -> None:
        assert (self.status is Status.OK) == (self.outputs is not None)
        assert self.elapsed_ns >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceEntry:
    """What is logged with the answer.

    Attributes:
        request_id: Of the request, unique per pipeline.
        time_us: When the request arrived, microseconds since 1970.
        route: The deployment and pipeline version that answered.
        inputs: The request's columns as logged; those that feed a model have the type it
            declares. The first axis is the row.
        rows: Input rows.
        champion: Always ok: a request without an answer is not an inference.
        sampled: The challengers whose observation will follow.
    """

    request_id: str
    time_us: int
    route: Route
    inputs: Mapping[str, Array]
    rows: int
    champion: Observation
    sampled: tuple[ServedModel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationEntry:
    """What is logged when a challenger ends, under the request's id."""

    request_id: str
    route: Route
    rows: int
    observation: Observation


class InferenceLog(Protocol):
    """Where a front appends. Appending never blocks, never raises and never waits for a disk."""

    def append(self, entry: InferenceEntry | ObservationEntry) -> bool:
        """Take the entry; False if it was dropped because the log's queue is full."""
