"""Requests that a host runs as one: what may go together, and who gets which rows back."""

from __future__ import annotations

import logging
from collections import deque
from typing import Protocol

import numpy as np

from gnomon.core.inference import Observation
from gnomon.core.tensors import Array

_LOG = logging.getLogger("gnomon.front.channel")


class Receiver(Protocol):
    """Who is told how a run ended."""

    def ended(self, tag: int, observation: Observation) -> None:
        """Take the observation; `tag` is what was given to `submit`. Called once for each run."""


def tell(receiver: Receiver, tag: int, observation: Observation) -> None:
    """Hand over an observation; what the receiver raises is logged and ends here."""
    try:
        receiver.ended(tag, observation)
    except Exception:
        _LOG.exception("%s: an observation was not taken", observation.model)


class Run:
    """A request on its way through a channel.

    Attributes:
        tensors: One array per input; empty once it has ended.
        receiver: None once it has been told.
        shape: What must be equal for two runs to go together: the axes behind the first.
        rows: Size of the first axis.
    """

    __slots__ = ("bytes", "deadline", "receiver", "rows", "shape", "tag", "tensors")

    def __init__(
        self, tensors: tuple[Array, ...], deadline: float, receiver: Receiver, tag: int
    ) -> None:
        self.tensors = tensors
        self.deadline = deadline
        self.receiver: Receiver | None = receiver
        self.tag = tag
        if len(tensors) == 1:  # by far the most
            [array] = tensors
            self.bytes = _size(array)
            self.shape: tuple[tuple[int, ...], ...] = (array.shape[1:],)
            self.rows = array.shape[0] if array.ndim else 1
        else:
            self.bytes = sum(map(_size, tensors))
            self.shape = tuple(array.shape[1:] for array in tensors)
            self.rows = len(tensors[0]) if tensors and tensors[0].ndim else 1

    def end(self, observation: Observation) -> None:
        """Tell the receiver how the run ended, unless it has been told."""
        receiver, self.receiver = self.receiver, None
        self.tensors = ()
        if receiver is not None:
            tell(receiver, self.tag, observation)


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

    def halves(self) -> tuple[list[Run], list[Run]]:
        """Return the runs that somebody still waits for, in two parts."""
        runs = [run for run in self.runs if run.receiver is not None]
        middle = (len(runs) + 1) // 2
        return runs[:middle], runs[middle:]


def gather(waiting: deque[Run], *, rows_max: int, bytes_max: int) -> list[Run]:
    """Take from the left what can go together, and never less than one run.

    Args:
        waiting: Not empty; runs that nobody waits for any more have been removed.
        rows_max: Rows of a batch of several runs, at most.
        bytes_max: Bytes of a batch of several runs, at most.
    """
    first = waiting.popleft()
    runs, rows, size = [first], first.rows, first.bytes
    while waiting:
        run = waiting[0]
        rows += run.rows
        size += run.bytes
        if run.shape != first.shape or rows > rows_max or size > bytes_max:
            break
        runs.append(waiting.popleft())
    return runs


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
    if len(runs) == 1:
        return [outputs]
    rows = sum(run.rows for run in runs)
    if any(not output.ndim or len(output) != rows for output in outputs):
        return None
    parts, start = [], 0
    for run in runs:
        end = start + run.rows
        parts.append(tuple([output[start:end] for output in outputs]))
        start = end
    return parts


def _size(array: Array) -> int:
    if array.dtype.kind == "O":
        return sum(map(len, array.flat)) + 4 * array.size
    return array.nbytes
