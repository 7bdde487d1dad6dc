"""What watches a host at work: its deadlines, and whether its supervisor lives."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import Protocol

from gnomon.core import limits

EXIT_LIFELINE, EXIT_DEADLINE = 70, 71
_INTERVAL_S = 0.25
_NEVER = 2**64


class Stoppable(Protocol):
    """What a watchdog looks after."""

    def stop_run(self) -> None:
        """Ask the current run to stop."""


class Watchdog:
    """Ends the process with its supervisor, and a run that does not stop at its deadline.

    It looks four times a second while there are runs, and sleeps while there are none: a server
    may have hundreds of hosts, most of them idle.

    Args:
        lifeline: Read end of a pipe whose only write end the supervisor has.
    """

    def __init__(self, lifeline: int) -> None:
        self._lifeline = lifeline
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._deadline_ns = _NEVER
        self._runs = 0
        self._asleep = False

    def begin(self, deadline_ns: int) -> None:
        """Note that a run begins (in the thread that works)."""
        self._deadline_ns = deadline_ns
        self._runs += 1
        if self._asleep:
            self._asleep = False
            os.eventfd_write(self._bell, 1)

    def end(self) -> None:
        """Note that it ended."""
        self._deadline_ns = _NEVER

    def watch(self, work: Stoppable) -> None:
        """Watch for ever; leaves by `os._exit`."""
        seen = -1
        while True:
            self._asleep = True  # before looking: a run that begins after the look rings the bell
            idle = self._runs == seen and self._deadline_ns == _NEVER
            self._asleep = idle
            seen = self._runs
            self._wait(None if idle else _INTERVAL_S)
            overdue_s = (time.monotonic_ns() - self._deadline_ns) / 1e9
            if overdue_s > limits.KILL_AFTER_DEADLINE_S:
                os._exit(EXIT_DEADLINE)
            if overdue_s > 0:
                work.stop_run()

    def _wait(self, timeout_s: float | None) -> None:
        ready, _, _ = select.select([self._lifeline, self._bell], [], [], timeout_s)
        if self._lifeline in ready:
            os._exit(EXIT_LIFELINE)
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell)
