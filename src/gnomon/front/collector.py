"""Garbage collections: kept away from requests, and measured where they are not."""

from __future__ import annotations

import gc
from time import perf_counter_ns
from typing import Literal

# A collection of the oldest generation stops the loop; `tidy` does it when nothing waits.
_THRESHOLDS = (10_000, 20, 100)


class Collector:
    """The collector of this process, as its front uses it. There is one at a time."""

    def __init__(self) -> None:
        self._pauses = 0
        self._longest_ns = 0
        self._tidied_ns = 0
        self._started_ns = 0
        self._tidying = False
        gc.set_threshold(*_THRESHOLDS)
        gc.callbacks.append(self._note)

    def close(self) -> None:
        """Measure no more."""
        gc.callbacks.remove(self._note)

    def tidy(self) -> None:
        """Collect what is garbage, and keep what is left out of later collections.

        Without it collections of the oldest generation stop the loop for 40 ms.
        """
        self._tidying = True
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._tidying = False

    def to_json(self) -> dict[str, int | float]:
        """Return how often and how long the collector stopped the front.

        Returns:
            pauses: Collections that came by themselves.
            longest_ms: The longest of them.
            tidy_longest_ms: The longest that `tidy` made, at the start and when routes change.
        """
        return {
            "pauses": self._pauses,
            "longest_ms": self._longest_ns / 1e6,
            "tidy_longest_ms": self._tidied_ns / 1e6,
        }

    def _note(self, phase: Literal["start", "stop"], _: dict[str, int]) -> None:
        now_ns = perf_counter_ns()
        if phase == "start":
            self._started_ns = now_ns
        elif self._tidying:
            self._tidied_ns = max(self._tidied_ns, now_ns - self._started_ns)
        else:
            self._pauses += 1
            self._longest_ns = max(self._longest_ns, now_ns - self._started_ns)
