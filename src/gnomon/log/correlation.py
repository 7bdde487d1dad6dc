"""Which inference an observation belongs to, found while both pass through the writer.

Request ids cannot say: a caller may use one twice. So an inference with sampled challengers is
remembered by its number until they have all ended, and each observation is given the number.
"""

from __future__ import annotations

from collections.abc import Sequence

from gnomon.core.inference import InferenceEntry
from gnomon.log.layouts import Entry
from gnomon.log.segments import NO_ENTRY


class OpenRequests:
    """The inferences whose challengers have not all ended.

    Args:
        observations_max: How many inferences are remembered; the oldest are forgotten first, and
            the observations of those find no inference any more.
    """

    def __init__(self, observations_max: int) -> None:
        self._max = observations_max
        self._open: dict[tuple[int, str], list[int]] = {}  # -> number, observations to come

    def __len__(self) -> int:
        return len(self._open)

    def resolve(self, entries: Sequence[Entry], base: int) -> list[int]:
        """Return for each entry the number of the inference that it observes, or `NO_ENTRY`.

        That is the nearest earlier inference of the pipeline with the request's id.

        Args:
            base: Number of the first entry.
        """
        of = [NO_ENTRY] * len(entries)
        for index, entry in enumerate(entries):
            if isinstance(entry, InferenceEntry):
                if entry.sampled:
                    self._add(entry, base + index)
            else:
                key = (entry.route.pipeline_id, entry.request_id)
                found = self._open.get(key)
                if found is not None:
                    of[index] = found[0]
                    found[1] -= 1
                    if found[1] <= 0:
                        del self._open[key]
        return of

    def _add(self, entry: InferenceEntry, number: int) -> None:
        key = (entry.route.pipeline_id, entry.request_id)
        before = self._open.get(key)
        # With the id in flight twice, the observations of both are still to come.
        to_come = len(entry.sampled) + (before[1] if before else 0)
        self._open[key] = [number, to_come]
        if len(self._open) > self._max:
            del self._open[next(iter(self._open))]
