import itertools
import threading

import pytest

from gnomon.host.interruption import Interruptible
from gnomon.host.loaded import RunStopped


def test_a_call_that_never_ends_is_interrupted_and_the_next_one_is_not():
    interruptible = Interruptible()
    started = threading.Event()

    def endless():
        started.set()
        while True:
            pass

    def interrupt():
        started.wait()
        interruptible.interrupt()

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(RunStopped):
        interruptible.call(endless)
    other.join()

    assert interruptible.call(lambda: sum(range(1_000))) == 499_500


def test_an_interruption_without_a_call_does_nothing():
    interruptible = Interruptible()
    interruptible.interrupt()

    assert interruptible.call(lambda: sum(range(1_000))) == 499_500
    interruptible.interrupt()  # would strike here, if it did
    assert sum(number for number in range(1_000)) == 499_500


def test_code_cannot_mistake_an_interruption_for_an_error_of_its_own():
    interruptible = Interruptible()
    caught = []

    def careless():
        try:
            interruptible.interrupt()
            while True:
                pass
        except Exception as error:
            caught.append(error)

    with pytest.raises(RunStopped):
        interruptible.call(careless)
    assert caught == []


def test_an_error_of_the_code_is_its_own():
    with pytest.raises(ZeroDivisionError):
        Interruptible().call(lambda: 1 // 0)


def test_whenever_it_strikes_it_strikes_within_the_call_or_not_at_all():
    """Calls as short as can be, and a thread that interrupts them all the time."""
    interruptible = Interruptible()
    over = threading.Event()
    ended = {"stopped": 0, "done": 0}

    def interrupt():
        while not over.is_set():
            interruptible.interrupt()

    other = threading.Thread(target=interrupt)
    other.start()
    try:
        for number in itertools.count():
            try:
                assert interruptible.call(lambda: number) == number  # noqa: B023
                ended["done"] += 1
            except RunStopped:
                ended["stopped"] += 1
            if number > 2_000 and min(ended.values()) > 50:
                break
    finally:
        over.set()
        other.join()
