"""Waiting on what happened, with a deadline. Tests do not sleep; they use this."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(happened: Callable[[], T], *, within_s: float = 10.0, every_s: float = 0.01) -> T:
    """Return the first true value of `happened()`.

    Raises:
        AssertionError: There was none within `within_s` seconds.
    """
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while True:
        value = happened()
        if value:
            return value
        assert time.monotonic() < deadline, f"not so within {within_s} s: {happened}"
        pause.wait(every_s)
