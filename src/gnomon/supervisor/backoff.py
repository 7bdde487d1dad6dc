"""When a process that died is started again: at once, unless it keeps dying."""

from __future__ import annotations

import os
import signal
from collections import deque

from gnomon.core import limits


class Backoff:
    """Remembers deaths; says how long to wait before the next start.

    Up to `CRASHES_BEFORE_BACKOFF` deaths within `CRASH_WINDOW_S` cost nothing; each further one
    doubles the pause from 1 s to at most `CRASH_BACKOFF_MAX_S`.
    """

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=64)

    def pause_s(self, now: float) -> float:
        """Note a death and return the seconds to wait before starting again.

        Args:
            now: Seconds, monotonic clock.
        """
        self._deaths.append(now)
        pause_s = self._pause_s()
        # A pause must not make the deaths before it look old.
        while self._deaths[0] < now - limits.CRASH_WINDOW_S - pause_s:
            self._deaths.popleft()
            pause_s = self._pause_s()
        return pause_s

    def _pause_s(self) -> float:
        extra = len(self._deaths) - limits.CRASHES_BEFORE_BACKOFF
        return 0.0 if extra <= 0 else min(2.0 ** (extra - 1), limits.CRASH_BACKOFF_MAX_S)


def describe_exit(wait_status: int) -> str:
    """Say how a process ended, for people.

    Args:
        wait_status: As `os.waitpid` returned it.
    """
    code = os.waitstatus_to_exitcode(wait_status)
    if code < 0:
        return f"crashed with {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
