"""Pauses of the thread that encodes."""

import time

from gnomon.core import limits
from gnomon.log.breather import Breather

SHORT_S = limits.LOG_UNHURRIED_S / 10


def pauses_s(breathe: Breather, work_s: float = SHORT_S) -> float:
    """Work for a while; return how long it did not."""
    start, worked = time.perf_counter(), time.thread_time()
    breathe.begin()
    while time.thread_time() - worked < work_s:
        breathe()
    return time.perf_counter() - start - work_s


def test_who_has_time_pauses_for_longer_than_it_works() -> None:
    assert pauses_s(Breather(lambda: False)) > SHORT_S


def test_who_is_in_a_hurry_does_not_pause() -> None:
    unhurried = min(pauses_s(Breather(lambda: False)) for _ in range(3))
    assert min(pauses_s(Breather(lambda: True)) for _ in range(10)) < unhurried / 2


def test_who_has_been_at_it_for_long_does_not_pause_any_more() -> None:
    long_s = 5 * limits.LOG_UNHURRIED_S
    paused_s = min(pauses_s(Breather(lambda: False), long_s) for _ in range(10))
    assert SHORT_S < paused_s < 2 * limits.LOG_UNHURRIED_S
