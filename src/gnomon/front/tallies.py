"""What became of the requests of each model: counts, and how long the latest took."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from gnomon.core import limits
from gnomon.core.inference import Status


class Tally:
    """One model of one deployment.

    Every request that it was to run is `sampled`, and at any time in exactly one of the other
    counts; `pending` are still under way.
    """

    __slots__ = ("_counts", "_latest_ns", "pending", "sampled")

    def __init__(self) -> None:
        self.sampled = 0
        self.pending = 0
        self._counts = dict.fromkeys(Status, 0)
        del self._counts[Status.PENDING]
        self._latest_ns: deque[int] = deque(maxlen=limits.LATENCIES_KEPT)

    def began(self, requests: int) -> None:
        """Count requests that it is to run."""
        self.sampled += requests
        self.pending += requests

    def ended(self, status: Status, requests: int) -> None:
        """Count requests that began, and now have come to this."""
        self.pending -= requests
        self._counts[status] += requests

    def took(self, each_ns: Iterable[int]) -> None:
        """Note how long requests took, in nanoseconds."""
        self._latest_ns.extend(each_ns)

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and quantiles in milliseconds of the latest requests."""
        latest = sorted(self._latest_ns)
        return {
            "sampled": self.sampled,
            **{status.value: count for status, count in self._counts.items()},
            "pending": self.pending,
            "p50_ms": _quantile_ms(latest, 0.50),
            "p99_ms": _quantile_ms(latest, 0.99),
        }


def _quantile_ms(ordered_ns: list[int], share: float) -> float | None:
    """Return the nearest-rank quantile; None of nothing."""
    if not ordered_ns:
        return None
    return ordered_ns[min(int(share * len(ordered_ns)), len(ordered_ns) - 1)] / 1e6
