"""One run on its way through a chain.

It goes through as a whole while its requests go the same way. At a split it becomes several; a
request whose own rows go different ways is put together again behind the split.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from gnomon.core.errors import InputMismatch, Internal, ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.core.splits import by_key, values_of
from gnomon.core.tensors import Array
from gnomon.front.batches import Run
from gnomon.front.chain import Chain
from gnomon.front.outcomes import not_run
from gnomon.front.pieces import ChainObservation, Piece

_LOG = logging.getLogger("gnomon.front.chain")


class ChainChannel:
    """A chain as a channel; see `service.Channel`."""

    trusted = True

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.model = chain.model

    @property
    def connected(self) -> bool:
        """Say whether every host that may be needed is there."""
        return all(channel.connected for stage in self._chain.channels for channel in stage)

    @property
    def room(self) -> int:
        """Return how many more requests it takes."""
        return min(
            channel.room
            for stage, at in zip(self._chain.channels, self._chain.way, strict=True)
            for channel in ([stage[at]] if isinstance(at, int) else stage)
        )

    def submit(self, run: Run) -> None:
        """Run the stages one after the other."""
        course, way = Course(self._chain, run), self._chain.way[0]
        piece = Piece(run.positions, run.rows)
        if isinstance(way, int):
            course.send(0, way, piece, run.tensors)
        else:
            assert way is not None
            course.fork(0, piece, list(way), dict(enumerate(run.tensors)))


class Course:
    """One run on its way through a chain."""

    __slots__ = ("_run", "chain")

    def __init__(self, chain: Chain, run: Run) -> None:
        self.chain = chain
        self._run = run

    def enter(self, stage: int, piece: Piece, columns: Mapping[str, Array]) -> None:
        """Give requests to a stage behind the first."""
        way = self.chain.way[stage]
        if isinstance(way, int):
            self._send_bound(stage, way, piece, columns)
            return
        split = self.chain.stages[stage].split
        if way is None:
            assert split is not None
            assert split.column is not None
            try:
                values = values_of(split.column, columns[split.column], sum(piece.rows))
            except InputMismatch as error:
                self.fail(piece, self._misfit(stage, error))
                return
            way = tuple(by_key(split, values))
        self.fork(stage, piece, list(way), dict(columns))

    def _send_bound(
        self, stage: int, option: int, piece: Piece, columns: Mapping[str, Array]
    ) -> None:
        try:
            tensors = self.chain.inputs(stage, option, columns)
        except InputMismatch as error:
            self.fail(piece, self._misfit(stage, error))
            return
        self.send(stage, option, piece, tensors)

    def send(self, stage: int, option: int, piece: Piece, tensors: tuple[Array, ...]) -> None:
        """Run a champion on requests."""
        self._submit(stage, option, piece, tensors, _Leg(self, stage, option, piece))

    def _submit(
        self, stage: int, option: int, piece: Piece, tensors: tuple[Array, ...], leg: _Leg
    ) -> None:
        positions, deadline = range(len(piece.positions)), self._run.deadline
        run = Run(tensors, positions, piece.rows, deadline=deadline, receiver=leg, tag=option)
        self.chain.channels[stage][option].submit(run)

    def fork(
        self, stage: int, piece: Piece, options: list[int], columns: Mapping[Any, Array]
    ) -> None:
        """Give each row to the champion that it goes to.

        Args:
            options: Of each row the index of its champion.
            columns: What the stage takes, by name; in front of the first stage by index, because
                there all champions take the same.
        """
        texts = np.array(self.chain.texts[stage], dtype=object)
        piece = piece._replace(picked={**piece.picked, stage: texts[options]})
        together: dict[int, list[int]] = {}
        start = 0
        for member, count in enumerate(piece.rows):
            wanted = set(options[start : start + count])
            start += count
            if len(wanted) == 1:
                together.setdefault(wanted.pop(), []).append(member)
            else:
                self._fork_one(stage, piece, member, options, columns)
        for option, members in together.items():
            some, rows = piece.pick(members)
            self._send_rows(stage, option, some, rows, columns, _Leg(self, stage, option, some))

    def _fork_one(
        self,
        stage: int,
        piece: Piece,
        member: int,
        options: list[int],
        columns: Mapping[Any, Array],
    ) -> None:
        """Give the rows of one request to several champions."""
        one, rows = piece.pick([member])
        ways = np.array(options)[rows]
        join = _Join(self, stage, one, ways)
        for option in sorted(set(ways.tolist())):
            part = rows[ways == option]
            self._send_rows(stage, option, one._replace(rows=[len(part)]), part, columns, join)

    def _send_rows(
        self,
        stage: int,
        option: int,
        piece: Piece,
        rows: Array,
        columns: Mapping[Any, Array],
        leg: _Leg,
    ) -> None:
        taken = {name: array[rows] for name, array in columns.items()}
        if stage == 0:
            tensors = tuple(taken.values())
        else:
            try:
                tensors = self.chain.inputs(stage, option, taken)
            except InputMismatch as error:
                leg.ended(option, range(len(piece.positions)), self._misfit(stage, error))
                return
        self._submit(stage, option, piece, tensors, leg)

    def leave(
        self, stage: int, option: int, piece: Piece, outputs: Sequence[Array], elapsed_ns: int
    ) -> None:
        """Take what a stage gave for requests."""
        names = [spec.name for spec in self.chain.stages[stage].champions[option].signature.outputs]
        columns = dict(zip(names, outputs, strict=True))
        piece = piece._replace(elapsed_ns=piece.elapsed_ns + elapsed_ns)
        if stage in self.chain.asked:
            piece = piece._replace(passed={**piece.passed, stage: columns})
        if stage + 1 < len(self.chain.stages):
            self.enter(stage + 1, piece, columns)
        else:
            self._finish(option, piece, outputs)

    def _finish(self, option: int, piece: Piece, outputs: Sequence[Array]) -> None:
        picked = self._picked(piece)
        observation = ChainObservation(
            model=self.chain.answers[option],
            status=Status.OK,
            outputs=(*outputs, *picked),
            elapsed_ns=piece.elapsed_ns,
            time_us=time.time_ns() // 1000,
            passed=piece.passed,
        )
        self._end(piece, observation)

    def _picked(self, piece: Piece) -> tuple[Array, ...]:
        """Return which models splits chose: for each row a text for each split."""
        splits = self.chain.splits
        if not splits:
            return ()
        texts = np.empty((sum(piece.rows), len(splits)), dtype=object)
        for at, stage in enumerate(splits):
            way = self.chain.way[stage]
            texts[:, at] = (
                self.chain.texts[stage][way] if isinstance(way, int) else piece.picked[stage]
            )
        return (texts,)

    def fail(self, piece: Piece, observation: Observation) -> None:
        """End requests that a stage did not serve."""
        self._end(piece, observation)

    def _end(self, piece: Piece, observation: Observation) -> None:
        if isinstance(piece.positions, range):
            self._tell(piece.positions, observation)
            return
        end, row = 0, 0
        for _, group in groupby(enumerate(piece.positions), lambda pair: pair[1] - pair[0]):
            positions = [position for _, position in group]
            first, end = end, end + len(positions)
            rows = sum(piece.rows[first:end])
            row += rows
            part = observation
            if len(positions) < len(piece.positions):
                part = observation.of_rows(row - rows, row)
            self._tell(range(positions[0], positions[-1] + 1), part)

    def request_ids(self, positions: Sequence[int]) -> list[str]:
        """Return the ids of these requests."""
        receiver = self._run.receiver
        assert receiver is not None
        return [name for at in positions for name in receiver.request_ids(range(at, at + 1))]

    def _tell(self, positions: range, observation: Observation) -> None:
        assert self._run.receiver is not None
        try:
            self._run.receiver.ended(self._run.tag, positions, observation)
        except Exception:
            _LOG.exception("%s: an observation was not taken", observation.model)

    def _misfit(self, stage: int, error: InputMismatch) -> Observation:
        model = self.chain.stages[stage].champions[0]
        step = self.chain.stages[stage].step
        text = f"step {step} cannot take what the step before gives: {error.message}"
        return not_run(model, text, error=ModelFailed)


class _Leg:
    """Takes what one champion did with requests, and sends them on."""

    __slots__ = ("_course", "_option", "_piece", "_stage")

    def __init__(self, course: Course, stage: int, option: int, piece: Piece) -> None:
        self._course = course
        self._stage = stage
        self._option = option
        self._piece = piece

    def ended(self, tag: int, positions: range, observation: Observation) -> None:
        """Take what a champion did; see `batches.Receiver`."""
        self._course.chain.count(self._stage, tag, len(positions), observation)
        piece = self._piece.part(positions.start, positions.stop)
        if observation.status is not Status.OK:
            self._course.fail(piece, observation)
            return
        assert observation.outputs is not None
        self._leave(piece, observation.outputs, observation.elapsed_ns)

    def _leave(self, piece: Piece, outputs: Sequence[Array], elapsed_ns: int) -> None:
        try:
            self._course.leave(self._stage, self._option, piece, outputs, elapsed_ns)
        except Exception:
            model = self._course.chain.stages[self._stage].champions[self._option]
            _LOG.exception("%s: what it gave was not taken", model)
            self._course.fail(piece, not_run(model, "an internal error.", error=Internal))

    def request_ids(self, positions: range) -> list[str]:
        """Return the ids of these requests; see `batches.Receiver`."""
        return self._course.request_ids(self._piece.positions[positions.start : positions.stop])


class _Join(_Leg):
    """Puts the rows of one request together again."""

    __slots__ = ("_elapsed_ns", "_failed", "_open", "_outputs", "_ways")

    def __init__(self, course: Course, stage: int, piece: Piece, ways: Array) -> None:
        super().__init__(course, stage, int(ways[0]), piece)
        self._ways = ways
        self._open = len(set(ways.tolist()))
        self._outputs: dict[int, tuple[Array, ...]] = {}
        self._elapsed_ns = 0
        self._failed: Observation | None = None

    def ended(self, tag: int, positions: range, observation: Observation) -> None:
        """Take what one of the champions did; see `batches.Receiver`."""
        self._course.chain.count(self._stage, tag, len(positions), observation)
        self._open -= 1
        if observation.outputs is None:
            self._failed = observation
        else:
            self._outputs[tag] = observation.outputs
            self._elapsed_ns += observation.elapsed_ns
        if self._open:
            return
        if self._failed is None:
            self._join()
        else:
            self._course.fail(self._piece, self._failed)

    def _join(self) -> None:
        stage = self._course.chain.stages[self._stage]
        models = [stage.champions[option] for option in self._outputs]
        names = {tuple(spec.name for spec in model.signature.outputs) for model in models}
        try:
            if len(names) > 1:
                raise ValueError("their outputs have different names")
            columns = zip(*self._outputs.values(), strict=True)
            outputs = [self._column(arrays) for arrays in columns]
        except ValueError as error:
            text = f"the rows went to {', '.join(map(str, models))}, and {error}."
            failed = not_run(models[0], text, error=ModelFailed)
            self._course.fail(self._piece, failed)
            return
        self._leave(self._piece, outputs, self._elapsed_ns)

    def _column(self, arrays: tuple[Array, ...]) -> Array:
        counts = [int((self._ways == option).sum()) for option in self._outputs]
        for array, count in zip(arrays, counts, strict=True):
            if array.shape[:1] != (count,) or array.dtype != arrays[0].dtype:
                raise ValueError("their outputs have not the same type, or no row for each")
        joined = np.concatenate(arrays)
        order = np.concatenate([np.flatnonzero(self._ways == option) for option in self._outputs])
        column = np.empty_like(joined)
        column[order] = joined
        return column
