"""How late the event loop comes to what is due: what a request waits before anybody looks at it."""

from __future__ import annotations

from collections import deque

from gnomon.core import limits


class Lag:
    """The delays of a timer that fires again and again."""

    def __init__(self) -> None:
        self._delays_s: deque[float] = deque(maxlen=limits.LATENCIES_KEPT)
        self._longest_s = 0.0

    def note(self, delay_s: float) -> None:
        """Take one delay, in seconds."""
        self._delays_s.append(delay_s)
        self._longest_s = max(self._longest_s, delay_s)

    def to_json(self) -> dict[str, float | None]:
        """Return quantiles of the latest delays, and the longest of all, in milliseconds."""
        ordered = sorted(self._delays_s)
        at = min(int(0.999 * len(ordered)), len(ordered) - 1)
        return {
            "p999_ms": 1e3 * ordered[at] if ordered else None,
            "longest_ms": 1e3 * self._longest_s,
        }
