"""What became of the requests of each model: counts, and how long the latest took."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.front.counts import Counts, new_counts

_STATUSES = tuple(status for status in Status if status is not Status.PENDING)
_AT: dict[Status, int] = {status: index for index, status in enumerate(_STATUSES, start=1)}
_SAMPLED = 0
WIDTH = 1 + len(_STATUSES)


class Tally:
    """One model of one deployment.

    Every request that it was to run is `sampled`, and at any time in exactly one of the other
    counts; `pending` are still under way.

    Args:
        counts: `WIDTH` numbers, kept up to date in place. What is under way in them was so when
            the front died that counted before, and is lost.
    """

    __slots__ = ("_counts", "_latest_ns")

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts = new_counts(WIDTH) if counts is None else counts
        self._latest_ns: deque[int] = deque(maxlen=limits.LATENCIES_KEPT)
        self._counts[_AT[Status.LOST]] += self.pending

    @property
    def sampled(self) -> int:
        """Return how many requests it was to run."""
        return self._counts[_SAMPLED]

    @property
    def pending(self) -> int:
        """Return how many of them are under way."""
        return self.sampled - sum(self._counts[1:])

    def began(self, requests: int) -> None:
        """Count requests that it is to run."""
        self._counts[_SAMPLED] += requests

    def ended(self, status: Status, requests: int) -> None:
        """Count requests that began, and now have come to this."""
        self._counts[_AT[status]] += requests

    def let_go(self) -> None:
        """Count on in memory of its own: what was given for it will be another's."""
        self._counts = memoryview(bytearray(self._counts)).cast("q")

    def took(self, each_ns: Iterable[int]) -> None:
        """Note how long requests took, in nanoseconds."""
        self._latest_ns.extend(each_ns)

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and quantiles in milliseconds of the latest requests."""
        latest = sorted(self._latest_ns)
        return {
            "sampled": self.sampled,
            **{status.value: self._counts[at] for status, at in _AT.items()},
            "pending": self.pending,
            "p50_ms": _quantile_ms(latest, 0.50),
            "p99_ms": _quantile_ms(latest, 0.99),
        }


def _quantile_ms(ordered_ns: list[int], share: float) -> float | None:
    """Return the nearest-rank quantile; None of nothing."""
    if not ordered_ns:
        return None
    return ordered_ns[min(int(share * len(ordered_ns)), len(ordered_ns) - 1)] / 1e6
