"""A watchdog that also ends a process whose interpreter does not come to anything else any more."""

from __future__ import annotations

import fcntl
import os
import signal
import time

from gnomon.core import limits
from gnomon.host.watchdog import Watchdog

_GRACE_S = 0.5  # for the watchdog itself, which is gentler and says why


class PythonWatchdog(Watchdog):
    """Has the kernel do what a thread cannot do while somebody's code holds the interpreter.

    One regular expression, or one sum over a long list, may hold it for hours. So the kernel is
    asked for a signal whose default action ends the process: SIGALRM after a run's deadline, SIGIO
    when the lifeline ends.
    """

    def __init__(self, lifeline: int) -> None:
        super().__init__(lifeline)
        # Opened anew: whom the signal is for is not shared with the other processes.
        own = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)

    def begin(self, deadline_ns: int) -> None:
        """See `Watchdog`."""
        left_s = (deadline_ns - time.monotonic_ns()) / 1e9
        signal.setitimer(
            signal.ITIMER_REAL, max(0.0, left_s) + limits.KILL_AFTER_DEADLINE_S + _GRACE_S
        )
        super().begin(deadline_ns)

    def end(self) -> None:
        """See `Watchdog`."""
        super().end()
        signal.setitimer(signal.ITIMER_REAL, 0.0)
