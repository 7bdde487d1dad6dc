"""Who the requests of a group are, and which rows of its arrays are whose."""

from __future__ import annotations

import time
from itertools import accumulate
from typing import NamedTuple

from gnomon.core.inference import Observation
from gnomon.core.tensors import Array
from gnomon.front.calls import Call


class Part(NamedTuple):
    """What one run of a model came to, for these requests of a group."""

    positions: range
    observation: Observation


class Members:
    """The requests of a group, by position.

    Args:
        calls: The requests.
        rows: Input rows of each.
    """

    __slots__ = ("_calls", "_clock_ns", "_request_ids", "_rows", "_starts", "_times_ns")

    def __init__(self, calls: list[Call], rows: list[int]) -> None:
        self._calls: list[Call | None] = list(calls)
        self._request_ids = [call.request_id for call in calls]
        self._times_ns = [call.time_ns for call in calls]
        self._clock_ns = time.perf_counter_ns() - time.time_ns()  # of that turn of the loop
        self._rows = rows
        self._starts = list(accumulate(rows, initial=0))

    def __len__(self) -> int:
        return len(self._rows)

    def take_calls(self, positions: range) -> list[Call]:
        """Return the callers that have no answer yet, and let them go."""
        which = _slice(positions)
        calls = [call for call in self._calls[which] if call is not None]
        self._calls[which] = [None] * len(positions)
        return calls

    def request_ids(self, positions: range) -> list[str]:
        """Return their ids."""
        return self._request_ids[_slice(positions)]

    def times_ns(self, positions: range) -> list[int]:
        """Return when they arrived, nanoseconds since 1970."""
        return self._times_ns[_slice(positions)]

    def took_ns(self, positions: range) -> list[int]:
        """Return how long ago they arrived, even if the clock has been set since."""
        now_ns = time.perf_counter_ns() - self._clock_ns
        return [max(0, now_ns - time_ns) for time_ns in self.times_ns(positions)]

    def rows(self, positions: range) -> list[int]:
        """Return how many rows each has."""
        return self._rows[_slice(positions)]

    def rows_between(self, positions: range) -> tuple[int, int]:
        """Return where their rows begin and end among those of all."""
        return self._starts[positions.start], self._starts[positions.stop]

    def cut(self, array: Array, positions: range) -> Array:
        """Return their rows of an array that has those of all."""
        if len(positions) == len(self):
            return array
        return array[self._starts[positions.start] : self._starts[positions.stop]]

    def within(self, part: Part, positions: range) -> Observation:
        """Return what an observation says of some of its requests."""
        observation = part.observation
        if observation.outputs is None or positions == part.positions:
            return observation
        first = self._starts[part.positions.start]
        start, stop = self.rows_between(positions)
        return observation.of_rows(start - first, stop - first)


def common(left: range, right: range) -> range:
    """Return the positions that are in both."""
    return range(max(left.start, right.start), min(left.stop, right.stop))


def _slice(positions: range) -> slice:
    return slice(positions.start, positions.stop)
