"""Requests inside a chain: which are at the same place, and what came out on their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple, Self

import numpy as np

from gnomon.core.inference import Observation
from gnomon.core.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainObservation(Observation):
    """What a chain came to.

    Attributes:
        passed: What came out of the stages that somebody asks about, by index of the stage.
    """

    passed: Mapping[int, Mapping[str, Array]] = field(default_factory=dict)

    def of_rows(self, start: int, stop: int) -> Self:
        """Return what it says of some of its rows."""
        passed = {
            stage: {name: array[start:stop] for name, array in columns.items()}
            for stage, columns in self.passed.items()
        }
        return replace(Observation.of_rows(self, start, stop), passed=passed)


class Piece(NamedTuple):
    """Requests of a run that are at the same place.

    Attributes:
        positions: As the run's receiver numbers them, ascending.
        rows: Of each.
        elapsed_ns: Spent in the stages so far.
        passed: See `ChainObservation`.
        picked: For stages whose split looked at rows, the text of each row's model.
    """

    positions: Sequence[int]
    rows: Sequence[int]
    elapsed_ns: int = 0
    passed: Mapping[int, Mapping[str, Array]] = {}
    picked: Mapping[int, Array] = {}

    def part(self, first: int, end: int) -> Piece:
        """Return some of the requests, counted from 0."""
        if first == 0 and end == len(self.positions):
            return self
        starts = list(accumulate(self.rows, initial=0))
        return self._of(slice(first, end), slice(starts[first], starts[end]))

    def pick(self, members: list[int]) -> tuple[Piece, Array]:
        """Return these requests, counted from 0, and the indices of their rows."""
        starts = list(accumulate(self.rows, initial=0))
        rows = np.concatenate([np.arange(starts[each], starts[each + 1]) for each in members])
        piece = self._of(slice(0, 0), rows)
        positions = [self.positions[each] for each in members]
        return piece._replace(positions=positions, rows=[self.rows[m] for m in members]), rows

    def _of(self, members: slice, rows: slice | Array) -> Piece:
        passed = {
            stage: {name: array[rows] for name, array in columns.items()}
            for stage, columns in self.passed.items()
        }
        picked = {stage: texts[rows] for stage, texts in self.picked.items()}
        positions, counts = self.positions[members], self.rows[members]
        return Piece(positions, counts, self.elapsed_ns, passed, picked)
