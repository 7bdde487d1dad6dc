"""Which requests of a write-ahead have ended, so that they can move to a table.

What moves is all that stands before a place: one number tells what has moved. So a challenger that
runs holds back what was logged after its request, until it ends or is not waited for any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, groupby

import numpy as np

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.core.routing import Route
from gnomon.core.tensors import Array
from gnomon.log import arrays
from gnomon.log.columns import open_columns
from gnomon.log.layouts import Column
from gnomon.log.segments import NO_ENTRY
from gnomon.log.stored import Loaded, Place, StoredLog
from gnomon.log.units import Description, Outcome, Part, Stack, Unit
from gnomon.log.views import SegmentView

_NOT_SAMPLED, _LOST = -2, -1  # in place of an outcome's index


@dataclass(frozen=True, slots=True)
class Ended:
    """What can move.

    Attributes:
        units: Requests from the place `after` up to `end`.
        end: Packed place: all that stands before it has ended.
        seqs: Segments of inferences that stand before `end` with all their requests.
        last: Packed place of the last request that was looked at.
        more: There are further requests, which were not looked at.
    """

    units: Sequence[Unit]
    end: int
    seqs: Sequence[int]
    last: int
    more: bool


def find_ended(log: StoredLog, pipeline_id: int, after: int, awaited: int) -> Ended | None:
    """Find the oldest requests of a pipeline that have ended; None if there are none at all.

    Args:
        after: Packed place: what stands before it has moved already.
        awaited: Packed place: what stands before it is waited for no longer; its challengers that
            have not ended are lost.
    """
    loaded, more = log.oldest(pipeline_id, limits.LOG_FLUSH_ROWS_MAX, limits.LOG_FLUSH_BYTES_MAX)
    if not loaded:
        return None
    inferences = _Inferences(loaded)
    for _, several in groupby(loaded, key=lambda each: each.life):
        inferences.observe(log, pipeline_id, list(several))
    end = inferences.end(max(awaited, after))
    units = inferences.units((inferences.places >= after) & (inferences.places < end))
    seqs = [each.seq for each in loaded if _places(each)[-1] < end]
    return Ended(units, end, seqs, int(inferences.places.max()), more)


def _places(loaded: Loaded) -> Array:
    """Return the packed place of each request in a segment."""
    first = Place(loaded.life, loaded.base).packed()
    return first + np.array(loaded.view.numbers, dtype=np.int64)


class _Inferences:
    """Requests that stand in the log, and what is known of their challengers.

    Attributes:
        places: Packed, of each request.
    """

    def __init__(self, loaded: Sequence[Loaded]) -> None:
        kinds: dict[tuple[object, ...], list[Loaded]] = {}
        for each in loaded:
            kinds.setdefault((id(each.view.route), *opened(each.view)), []).append(each)
        self._stacks = [Stack([each.view for each in kind]) for kind in kinds.values()]
        self._views = [kind[0].view for kind in kinds.values()]
        sizes = [len(stack.counts) for stack in self._stacks]
        self._starts = np.cumsum([0, *sizes])
        self._kind = np.repeat(np.arange(len(sizes)), sizes)
        self.places = np.concatenate([_places(each) for kind in kinds.values() for each in kind])
        self._order = np.argsort(self.places, kind="stable")
        self._sorted = self.places[self._order]
        # By request and challenger: the segment that observed it, and where in it.
        shape = (len(self.places), max(len(view.route.challengers) for view in self._views))
        self._seen_by = np.full(shape, -1)
        self._seen_at = np.zeros(shape, dtype=np.int64)
        self._observing: list[SegmentView] = []

    def observe(self, log: StoredLog, pipeline_id: int, loaded: Sequence[Loaded]) -> None:
        """Take in what challengers did with requests of one life."""
        numbers = [each.base + number for each in loaded for number in each.view.numbers]
        life, base = loaded[0].life, min(each.base for each in loaded)
        for view in log.observing(pipeline_id, Place(life, min(numbers)), max(numbers), base):
            of = np.array(view.of, dtype=np.int64)
            wanted = Place(life, 0).packed() + of
            found = np.searchsorted(self._sorted, wanted).clip(max=len(self._sorted) - 1)
            request = self._order[found]
            challenger = self._index_of(view.model.label)[self._kind[request]]
            known = (of != NO_ENTRY) & (self._sorted[found] == wanted) & (challenger >= 0)
            slots = request[known], challenger[known]
            self._seen_by[slots] = len(self._observing)
            self._seen_at[slots] = np.flatnonzero(known)
            self._observing.append(view)

    def _index_of(self, label: str) -> Array:
        """Return which challenger of each kind's route has a label; -1: none."""
        labels = [[model.label for model in view.route.challengers] for view in self._views]
        return np.array([each.index(label) if label in each else -1 for each in labels])

    @cached_property
    def _sampled(self) -> Array:
        """By request and challenger: whether it was sampled."""
        masks = [arrays.values_of(stack.head("sampled"), "uint64") for stack in self._stacks]
        bits = np.arange(self._seen_by.shape[1], dtype=np.uint64)
        sampled: Array = (np.concatenate(masks)[:, None] >> bits & np.uint64(1)).astype(bool)
        return sampled

    def end(self, awaited: int) -> int:
        """Return the packed place before which all requests have ended, or are not awaited."""
        is_open = np.any(self._sampled & (self._seen_by < 0), axis=1)
        waiting = is_open[self._order] & (self._sorted >= awaited)
        first = int(waiting.argmax())
        return int(self._sorted[first]) if waiting[first] else int(self._sorted[-1]) + 1

    def units(self, chosen: Array) -> list[Unit]:
        """Return the chosen requests, those together that have a description in common."""
        known: dict[_Result, int] = {}
        results = [known.setdefault(_result(view), len(known)) for view in self._observing]
        result_of = np.array([*results, _LOST])  # the last one is of -1: seen by nobody
        units = []
        for kind, view in enumerate(self._views):
            start, stop = self._starts[kind : kind + 2]
            of = start + np.flatnonzero(chosen[start:stop])
            of = of[np.argsort(self.places[of], kind="stable")]
            keys = np.where(self._sampled[of], result_of[self._seen_by[of]], _NOT_SAMPLED)
            for key, which in _alike(keys):
                outcomes, seen = self._outcomes(of[which], key, view.route, list(known))
                inputs, outputs, anomalies = opened(view)
                units.append(
                    Unit(
                        description=Description(view.route, inputs, outputs, outcomes, anomalies),
                        places=self.places[of[which]],
                        inferences=Part(self._stacks[kind], of[which] - start),
                        seen=seen,
                    )
                )
        return units

    def _outcomes(
        self, of: Array, key: Array, route: Route, results: Sequence[_Result]
    ) -> tuple[tuple[Outcome, ...], tuple[Part | None, ...]]:
        """Return what became of the challengers of requests that share it."""
        outcomes: list[Outcome] = []
        seen: list[Part | None] = []
        for model, index in sorted(zip(route.challengers, count()), key=lambda each: each[0].label):
            if key[index] == _NOT_SAMPLED:
                continue
            if key[index] == _LOST:
                outcomes.append(Outcome(model, Status.LOST, "inference_failed", ()))
                seen.append(None)
                continue
            outcomes.append(Outcome(model, *results[key[index]]))
            which, segment = np.unique(self._seen_by[of, index], return_inverse=True)
            views = [self._observing[each] for each in which]
            starts = np.cumsum([0, *(len(view) for view in views)])
            seen.append(Part(Stack(views), starts[segment] + self._seen_at[of, index]))
        return tuple(outcomes), tuple(seen)


def opened(view: SegmentView) -> tuple[tuple[Column, ...], ...]:
    """Return the inputs, outputs and anomalies of a segment's requests, as tables describe them."""
    of = view.layout
    return open_columns(of.inputs), open_columns(of.outputs), open_columns(of.anomalies)


_Result = tuple[Status, str, tuple[Column, ...]]


def _result(view: SegmentView) -> _Result:
    return view.layout.status, view.layout.code, open_columns(view.layout.outputs)


def _alike(keys: Array) -> Iterator[tuple[Array, Array]]:
    """Yield each different row of `keys`, and the indices where it stands."""
    if not len(keys):
        return
    if (keys == keys[0]).all():  # nearly always; sorting costs more than looking
        yield keys[0], np.arange(len(keys))
        return
    rows, which = np.unique(keys, axis=0, return_inverse=True)
    for index, row in enumerate(rows):
        yield row, np.flatnonzero(which.reshape(-1) == index)
