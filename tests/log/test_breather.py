"""Pauses of the thread that encodes."""

import time

from gnomon.log.breather import Breather

WORK_S = 0.01


def pauses_s(breathe: Breather) -> float:
    """Work for a while; return how long it did not."""
    start, worked = time.perf_counter(), time.thread_time()
    breathe.begin()
    while time.thread_time() - worked < WORK_S:
        breathe()
    return time.perf_counter() - start - WORK_S


def test_who_has_time_pauses_for_longer_than_it_works() -> None:
    assert pauses_s(Breather(lambda: False)) > WORK_S


def test_who_is_in_a_hurry_does_not_pause() -> None:
    unhurried = min(pauses_s(Breather(lambda: False)) for _ in range(3))
    assert min(pauses_s(Breather(lambda: True)) for _ in range(10)) < unhurried / 2
