"""One inference: what a model did with it, and what is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, Self

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
    """What one run of one model came to: its outputs, or why there are none.

    A run serves one request or several; the outputs of several hold their rows one after the
    other. The champion's observation becomes the answers; a challenger's is only ever shown and
    logged.

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
        anomalies: What the pipeline's validations found, by name: one bool for each row. Of the
            champion only.
    """

    model: ServedModel
    status: Status
    outputs: tuple[Array, ...] | None = None
    error: str | None = None
    elapsed_ns: int = 0
    time_us: int = 0
    code: str = "inference_failed"
    anomalies: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert (self.status is Status.OK) == (self.outputs is not None)
        assert self.elapsed_ns >= 0

    def of_rows(self, start: int, stop: int) -> Self:
        """Return what it says of some of its rows; its outputs have the row as their first axis."""
        if self.outputs is None:
            return self
        return replace(
            self,
            outputs=tuple([array[start:stop] for array in self.outputs]),
            anomalies={name: array[start:stop] for name, array in self.anomalies.items()},
        )


class Ticket:
    """Where the log keeps an inference entry, so that observations of its requests find it.

    Attributes:
        number: Of the entry's first request; None until the log has written it. The log's own.
    """

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceEntry:
    """The requests that the champion answered from one run, as logged with their answers.

    Attributes:
        request_ids: Of each request, unique per pipeline.
        times_us: When each arrived, microseconds since 1970.
        rows: Input rows of each.
        route: The deployment and pipeline version that answered.
        inputs: The requests' columns as logged, the rows of all requests one after the other;
            those that feed a model have the type it declares. In an entry of one request the
            first axis may be something else than the row.
        champion: Always ok: a request without an answer is not an inference. Its outputs hold
            rows as the inputs do.
        sampled: For each request the challengers whose observation will follow, as bits: bit i
            is `route.challengers[i]`.
        ticket: Known to the observations that follow.
    """

    request_ids: Sequence[str]
    times_us: Sequence[int]
    rows: Sequence[int]
    route: Route
    inputs: Mapping[str, Array]
    champion: Observation
    sampled: Sequence[int]
    ticket: Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationEntry:
    """What one run of a challenger came to, for requests of one inference entry.

    Attributes:
        request_ids: Of each request.
        rows: Input rows of each; the observation's outputs hold them one after the other.
        ticket: Of the inference entry.
        positions: Index of each request in the inference entry.
    """

    request_ids: Sequence[str]
    rows: Sequence[int]
    route: Route
    ticket: Ticket
    positions: Sequence[int]
    observation: Observation


Told = Callable[[bool], None]


class InferenceLog(Protocol):
    """Where a front appends. Appending never blocks, never raises and never waits for a disk."""

    @property
    def trouble(self) -> str | None:
        """Say why what is appended now may not be kept; None: nothing is wrong."""

    @property
    def is_full(self) -> bool:
        """Say whether what is appended now is dropped."""

    def append(self, entry: InferenceEntry | ObservationEntry, told: Told | None = None) -> bool:
        """Take the entry; False if it was dropped because the log's queue is full.

        Args:
            told: Called once, unless the entry was dropped: with True when it is on the disk,
                with False when it could not be written at the first try. None: nobody waits.
        """


class Nowhere:
    """The log of a pipeline that is not logged; implements `InferenceLog`."""

    trouble: str | None = None
    is_full: bool = False

    def append(
        self,
        entry: InferenceEntry | ObservationEntry,  # noqa: ARG002
        told: Told | None = None,
    ) -> bool:
        """Keep nothing of it."""
        if told is not None:
            told(True)
        return True
