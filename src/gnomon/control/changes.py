"""How the parts of the control plane tell each other that something changed."""

from __future__ import annotations

import threading


class Changes:
    """A doorbell for the reconciler, and a count for those who wait for a deployment.

    Any thread may call.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._work = False

    def wanted(self) -> None:
        """Something else is desired now: the reconciler looks at once."""
        with self._condition:
            self._work = True
            self._count += 1
            self._condition.notify_all()

    def observed(self) -> None:
        """The reconciler noted something: those who wait look again."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def count(self) -> int:
        """Return how many changes there were."""
        with self._condition:
            return self._count

    def wait_beyond(self, count: int, timeout_s: float) -> None:
        """Return when there were more than `count` changes, at most `timeout_s` later."""
        with self._condition:
            self._condition.wait_for(lambda: self._count > count, timeout_s)

    def wait_for_work(self, timeout_s: float) -> bool:
        """Return whether something else is desired since the last call; wait for it a while."""
        with self._condition:
            found = self._condition.wait_for(lambda: self._work, timeout_s)
            self._work = False
            return found
