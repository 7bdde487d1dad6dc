"""A breaker: a challenger that keeps failing is left alone for a while, and nobody waits for it."""

from __future__ import annotations

from typing import Literal

from gnomon.core import limits

State = Literal["closed", "open", "half_open"]


class Breaker:
    """Opens after `BREAKER_FAILURES` failed runs in a row; pure, it is told the time.

    Open, it lets nothing through for `BREAKER_PAUSE_S`. Then it is half-open: one run goes
    through as a probe. If that succeeds the breaker closes, else it is open again for twice as
    long, `BREAKER_PAUSE_MAX_S` at most. What fails is a run, not a request: a time-out, a death of
    the host, no memory. An error that the model raises on a bad row is no failure.

    Attributes:
        failures: Failed runs in a row.
    """

    def __init__(self) -> None:
        self.failures = 0
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
        if self._state == "open" and now >= self._opens_at:
            self._state = "half_open"
            return True
        return False

    def pause_left_s(self, now: float) -> float:
        """Return the seconds until the next probe; 0 while one is under way or closed."""
        return max(0.0, self._opens_at - now) if self._state == "open" else 0.0

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
        elif self._state == "open" or self.failures < limits.BREAKER_FAILURES:
            return
        self._state = "open"
        self._opens_at = now + self._pause_s
