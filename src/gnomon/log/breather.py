"""How the thread that encodes shares the interpreter, and the core, with the loop."""

from __future__ import annotations

import time
from collections.abc import Callable

from gnomon.core import limits


class Breather:
    """Pauses between small pieces of work, so that no request waits for more than one of them.

    A thread that computes keeps the interpreter until another one has waited for it for a whole
    switch interval, and the kernel lets it finish its slice: a request that came meanwhile would
    take ten times as long. Whoever is in a hurry, or has been at it for long, does not pause.

    Args:
        is_hurried: Says whether there is no time for pauses.
    """

    def __init__(self, is_hurried: Callable[[], bool]) -> None:
        self._is_hurried = is_hurried
        self._pause_at = self._hurry_at = 0.0

    def begin(self) -> None:
        """Start to work."""
        now = time.perf_counter()
        self._pause_at = now + limits.LOG_WORK_S
        self._hurry_at = now + limits.LOG_UNHURRIED_S

    def __call__(self) -> None:
        """Pause, if the last pause was long enough ago."""
        now = time.perf_counter()
        if self._pause_at <= now < self._hurry_at and not self._is_hurried():
            time.sleep(limits.LOG_PAUSE_S)
            self._pause_at = time.perf_counter() + limits.LOG_WORK_S
