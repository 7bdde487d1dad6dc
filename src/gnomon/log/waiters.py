"""Who waits until what was appended is on the disk."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from gnomon.core.inference import Told

logger = logging.getLogger(__name__)

Deliver = Callable[[Callable[[], None]], object]


class Waiters:
    """Those who wait, in the order of what they wait for; each is told once.

    One thread adds, another one tells.

    Attributes:
        deliver: How they are told: called once for all of one commit, with what tells them. At
            once, in the thread that tells, unless it is set.
    """

    def __init__(self) -> None:
        self.deliver: Deliver = lambda tell: tell()
        self._waiting: deque[tuple[int, int, Told]] = deque()
        self._turned_away = 0  # counted by the thread that adds
        self._failed = 0  # by the one that tells

    @property
    def failed(self) -> int:
        """Return how many requests were waited for in vain."""
        return self._turned_away + self._failed

    def add(self, number: int, requests: int, told: Told) -> None:
        """Have somebody wait until everything up to a number, with so many requests, is kept."""
        self._waiting.append((number, requests, told))

    def turn_away(self, requests: int, told: Told) -> None:
        """Tell somebody who would wait that it is in vain, at present."""
        self._turned_away += requests
        self._deliver([told], is_kept=False)

    def tell(self, *, is_kept: bool, up_to: int | None = None) -> None:
        """Tell those who wait for no more than up to a number, or all of them."""
        due: list[Told] = []
        while self._waiting and (up_to is None or self._waiting[0][0] <= up_to):
            _, requests, told = self._waiting.popleft()
            due.append(told)
            self._failed += 0 if is_kept else requests
        if due:
            self._deliver(due, is_kept=is_kept)

    def _deliver(self, due: list[Told], *, is_kept: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the loop that they wait in is closed
            self.deliver(partial(_tell, due, is_kept))


def _tell(due: list[Told], is_kept: bool) -> None:
    for told in due:
        try:
            told(is_kept)
        except Exception:
            logger.exception("inference log: who waited for a commit was not told")
