"""A breaker: a challenger that keeps failing is left alone for a while, and nobody waits for it."""

from __future__ import annotations

from typing import Literal

from gnomon.core import limits

State = Literal["closed", "open", "half_open"]


class Breaker:
    """Opens after so many failed runs in a row; pure, it is told the time.

    Open, it lets nothing through for `BREAKER_PAUSE_S`. Then it is half-open: one run goes
    through as a probe. If that succeeds the breaker closes, else it is open again for twice as
    long, `BREAKER_PAUSE_MAX_S` at most. What fails is a run, not a request: a time-out, a death of
    the host, no memory. An error that the model raises on a bad row is no failure.

    Args:
        failures_max: Failed runs in a row that open it; infinite for a champion, which is always
            asked.

    Attributes:
        failures: Failed runs in a row.
    """

    def __init__(self, failures_max: float = limits.BREAKER_FAILURES) -> None:
        self.failures = 0
        self._failures_max = failures_max
        self._pause_s = limits.BREAKER_PAUSE_S
        self._opens_at = 0.0
        self._state: State = "closed"

    @property
    def state(self) -> State:
        """Return the state; "open" until a probe is let through."""
        return self._state

    def allows(self, now: float) -> bool:
        """Say whether a run may go through; when half-open, the first one that asks is the probe.

        Args:
            now: Seconds, monotonic clock.
        """
        if self._state == "closed":
            return True
        if now < self._opens_at:
            return False
        # Should nothing be heard of this probe, there will be another one.
        self._state, self._opens_at = "half_open", now + self._pause_s
        return True

    def pause_left_s(self, now: float) -> float:
        """Return the seconds until the next probe; 0 if it is closed."""
        return 0.0 if self._state == "closed" else max(0.0, self._opens_at - now)

    def succeeded(self) -> None:
        """Note a run that ended as it should."""
        self.failures = 0
        self._pause_s = limits.BREAKER_PAUSE_S
        self._state = "closed"

    def failed(self, now: float) -> None:
        """Note a run that failed."""
        self.failures += 1
        if self._state == "half_open":
            self._pause_s = min(2 * self._pause_s, limits.BREAKER_PAUSE_MAX_S)
        elif self._state == "open" or self.failures < self._failures_max:
            return
        self._state = "open"
        self._opens_at = now + self._pause_s
