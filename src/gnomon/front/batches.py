"""Requests that a host runs as one: what may go together, and who gets which rows back."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gnomon.core.inference import Observation
from gnomon.core.tensors import Array

_LOG = logging.getLogger("gnomon.front.channel")


class Receiver(Protocol):
    """Who is told how a run ended."""

    def ended(self, tag: int, positions: range, observation: Observation) -> None:
        """Take what a model did with these requests; called once for each of them.

        Args:
            tag: What was given to the run.
            positions: Which of the run's requests.
            observation: Its outputs hold their rows one after the other.
        """

    def request_ids(self, positions: range) -> list[str]:
        """Return the ids of these of the run's requests."""


class Run:
    """Requests on their way through a channel, run together or, if need be, in parts.

    Args:
        tensors: One array per input, the rows of all requests one after the other. Of a single
            request the first axis may be something else.
        positions: The requests, as the receiver numbers them.
        rows: Of each request.
        deadline: Loop time after which the run is given up.
        receiver: Told how it ended.
        tag: Handed back to the receiver.

    Attributes:
        tensors: Empty once it has ended.
        receiver: None once it has been told.
        shape: What must be equal for two runs to go together: the axes behind the first.
        height: Size of the first axis.
    """

    __slots__ = (
        "bytes",
        "deadline",
        "height",
        "positions",
        "receiver",
        "rows",
        "shape",
        "tag",
        "tensors",
    )

    def __init__(
        self,
        tensors: tuple[Array, ...],
        positions: range,
        rows: Sequence[int],
        *,
        deadline: float,
        receiver: Receiver,
        tag: int,
    ) -> None:
        self.tensors = tensors
        self.positions = positions
        self.rows = rows
        self.deadline = deadline
        self.receiver: Receiver | None = receiver
        self.tag = tag
        self.bytes = sum(map(_size, tensors))
        self.shape = tuple([array.shape[1:] for array in tensors])
        self.height = len(tensors[0]) if tensors and tensors[0].ndim else 1

    def __len__(self) -> int:
        return len(self.positions)

    def fitting(self, requests: int, bytes_: int) -> int:
        """Return how many of its requests fit where there is room for so many, and so much."""
        if self.bytes > bytes_:
            requests = min(requests, max(0, bytes_) * len(self) // self.bytes)
        return max(0, min(len(self), requests))

    def part(self, first: int, end: int) -> Run:
        """Return a run of some of the requests, counted from 0."""
        assert self.receiver is not None
        start = sum(self.rows[:first])
        rows = self.rows[first:end]
        stop = start + sum(rows)
        whole = first == 0 and end == len(self)
        return Run(
            self.tensors if whole else tuple(array[start:stop] for array in self.tensors),
            self.positions[first:end],
            rows,
            deadline=self.deadline,
            receiver=self.receiver,
            tag=self.tag,
        )

    def end(self, observation: Observation) -> None:
        """Tell the receiver how the run ended, unless it has been told; never raises."""
        receiver, self.receiver = self.receiver, None
        self.tensors = ()
        if receiver is not None:
            try:
                receiver.ended(self.tag, self.positions, observation)
            except Exception:
                _LOG.exception("%s: an observation was not taken", observation.model)


class Batch:
    """Runs that are at the host.

    Attributes:
        number: The frame's.
        failed: It has been counted as a failure: its deadline passed, or its host died.
        replace_at: Loop time at which the host has to be replaced.
    """

    __slots__ = ("failed", "number", "replace_at", "runs")

    def __init__(self, number: int, runs: list[Run], replace_at: float) -> None:
        self.failed = False
        self.number = number
        self.replace_at = replace_at
        self.runs = runs

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    def request_ids(self, at_most: int) -> list[str]:
        """Return the ids of the first requests that somebody still waits for."""
        found: list[str] = []
        for run in self.runs:
            if run.receiver is not None and len(found) < at_most:
                found += run.receiver.request_ids(run.positions[: at_most - len(found)])
        return found

    def halves(self) -> tuple[list[Run], list[Run]]:
        """Return the requests that somebody still waits for, in two parts."""
        runs = [run for run in self.runs if run.receiver is not None]
        middle = (sum(map(len, runs)) + 1) // 2
        left: list[Run] = []
        while runs and middle >= len(runs[0]):
            middle -= len(runs[0])
            left.append(runs.pop(0))
        if middle:
            run = runs.pop(0)
            left.append(run.part(0, middle))
            runs.insert(0, run.part(middle, len(run)))
        return left, runs

    def singles(self) -> list[Run]:
        """Return the requests that somebody still waits for, one by one."""
        runs = [run for run in self.runs if run.receiver is not None]
        return [run.part(index, index + 1) for run in runs for index in range(len(run))]


def gather(waiting: deque[Run], *, rows_max: int, bytes_max: int) -> list[Run]:
    """Take from the left what can go together, and never less than one request.

    Args:
        waiting: Not empty; runs that nobody waits for any more have been removed.
        rows_max: Rows of a batch of several requests, at most.
        bytes_max: Bytes of a batch of several requests, at most.
    """
    first = waiting.popleft()
    if len(first) > 1 and (first.height > rows_max or first.bytes > bytes_max):
        room = _room(first, rows_max, bytes_max)
        waiting.appendleft(first.part(room, len(first)))
        return [first.part(0, room)]
    runs, rows, size = [first], first.height, first.bytes
    while waiting:
        run = waiting[0]
        rows += run.height
        size += run.bytes
        if run.shape != first.shape or rows > rows_max or size > bytes_max:
            break
        runs.append(waiting.popleft())
    return runs


def _room(run: Run, rows_max: int, bytes_max: int) -> int:
    """Return how many of the first requests of a run fit; at least one, never all."""
    bytes_per_row = run.bytes / max(run.height, 1)
    count = rows = 0
    for count, each in enumerate(run.rows[:-1]):
        rows += each
        if rows > rows_max or rows * bytes_per_row > bytes_max:
            return max(count, 1)
    return max(len(run) - 1, 1)


def join(runs: list[Run]) -> tuple[Array, ...]:
    """Return the inputs of all runs as one: the runs' rows one after the other."""
    if len(runs) == 1:
        return runs[0].tensors
    if len(runs[0].tensors) == 1:
        return (np.concatenate([run.tensors[0] for run in runs]),)
    return tuple(
        np.concatenate(arrays) for arrays in zip(*(run.tensors for run in runs), strict=True)
    )


def split(outputs: tuple[Array, ...], runs: list[Run]) -> list[tuple[Array, ...]] | None:
    """Give each run its rows of the outputs; None if the outputs do not have a row for each."""
    if len(runs) == 1 and len(runs[0]) == 1:
        return [outputs]
    height = sum(run.height for run in runs)
    if any(not output.ndim or len(output) != height for output in outputs):
        return None
    if len(runs) == 1:
        return [outputs]
    parts, start = [], 0
    for run in runs:
        end = start + run.height
        parts.append(tuple([output[start:end] for output in outputs]))
        start = end
    return parts


def _size(array: Array) -> int:
    if array.dtype.kind == "O":
        return sum(map(len, array.flat)) + 4 * array.size
    return array.nbytes
