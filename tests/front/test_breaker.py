"""A challenger that keeps failing is left alone, and nobody waits for it."""

from __future__ import annotations

import time

import pytest

from gnomon.core import limits
from gnomon.core.frames import Frame, Kind
from gnomon.core.inference import Status
from gnomon.front.breaker import Breaker
from tests.front.conftest import FrontServer
from tests.front.models import challenger, champion, route
from tests.front.stub_host import doubles, fails, hangs
from tests.waiting import until

BODY = {"tensor": [[1, 2]]}
WAIT = {"x_gnomon_shadow_wait_ms": "5000"}


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(limits.BREAKER_FAILURES):
        breaker.failed(now)
    return breaker


def test_a_breaker_opens_after_failures_in_a_row_only():
    breaker = Breaker()
    for _ in range(3):
        for _ in range(limits.BREAKER_FAILURES - 1):
            breaker.failed(0.0)
        breaker.succeeded()
    assert (breaker.state, breaker.allows(0.0)) == ("closed", True)
    assert opened().state == "open"


def test_an_open_breaker_lets_one_probe_through_after_its_pause():
    breaker = opened()
    assert not breaker.allows(limits.BREAKER_PAUSE_S - 1)
    assert breaker.pause_left_s(limits.BREAKER_PAUSE_S - 1) == 1
    assert breaker.allows(limits.BREAKER_PAUSE_S)
    assert breaker.state == "half_open"
    assert not breaker.allows(limits.BREAKER_PAUSE_S)


def test_a_good_probe_closes_it_and_a_failed_one_doubles_the_pause_up_to_a_bound():
    breaker, now = opened(), 0.0
    pauses = []
    for _ in range(8):
        pauses.append(breaker.pause_left_s(now))
        now += pauses[-1]
        assert breaker.allows(now)
        breaker.failed(now)
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]
    now += breaker.pause_left_s(now)
    assert breaker.allows(now)
    breaker.succeeded()
    assert breaker.state == "closed"
    for _ in range(limits.BREAKER_FAILURES):
        breaker.failed(now)
    assert breaker.pause_left_s(now) == limits.BREAKER_PAUSE_S


def test_a_probe_of_which_nothing_is_heard_is_followed_by_another():
    breaker = opened()
    assert breaker.allows(limits.BREAKER_PAUSE_S)
    assert not breaker.allows(2 * limits.BREAKER_PAUSE_S - 1)
    assert breaker.allows(2 * limits.BREAKER_PAUSE_S)


def test_what_fails_under_way_when_it_opens_does_not_lengthen_the_pause():
    breaker = opened()
    breaker.failed(10.0)
    assert breaker.pause_left_s(10.0) == limits.BREAKER_PAUSE_S - 10


def statuses(server: FrontServer, count: int, **headers: str) -> list[str]:
    answers = [server.infer(BODY, **headers) for _ in range(count)]
    assert {answer.status for answer in answers} == {200}
    return [answer.json[0]["challengers"]["rf"]["status"] for answer in answers]


@pytest.fixture
def shadowed(server: FrontServer, monkeypatch):
    """A front with a good champion and a challenger whose host is given its answers."""
    monkeypatch.setattr(limits, "BREAKER_PAUSE_S", 0.3)

    def start(answer):
        server.host(champion(), doubles)
        host = server.host(challenger("rf"), answer)
        server.route(route(champion(), challenger("rf")))
        server.wait_connected(champion().host)
        server.wait_connected(challenger("rf").host)
        return host

    return start


def out_of_memory(question: Frame) -> Frame:
    return Frame(Kind.FAILED, question.request, 1, text="limit_reached: no memory")


def test_a_challenger_that_fails_again_and_again_is_skipped_and_then_tried(shadowed, server):
    host = shadowed(out_of_memory)
    assert statuses(server, limits.BREAKER_FAILURES, **WAIT) == ["error"] * limits.BREAKER_FAILURES

    # Its breaker is open: it is not run, and a caller that asks to wait does not wait
    asked = len(host.questions)
    started = time.monotonic()
    assert statuses(server, 3, **WAIT) == ["skipped"] * 3
    assert time.monotonic() - started < 2.5
    assert len(host.questions) == asked
    assert server.front.stats()["models"]["7"]["rf"]["breaker"] == "open"

    # After the pause one run goes through; it succeeds, and all is as before
    host.answer = doubles
    until(lambda: statuses(server, 1, **WAIT) != ["skipped"])
    until(lambda: server.front.stats()["models"]["7"]["rf"]["breaker"] == "closed")
    assert statuses(server, 2, **WAIT) == ["ok"] * 2


def test_bad_rows_do_not_open_it(shadowed, server):
    shadowed(fails)
    count = 2 * limits.BREAKER_FAILURES
    assert statuses(server, count, **WAIT) == ["error"] * count


def test_a_host_that_keeps_dying_opens_it(shadowed, server):
    def dies(question: Frame) -> bytes:
        return b"no frame at all, but longer than a header is"

    host = shadowed(dies)

    def ask() -> str:
        until(lambda: server.front.stats()["connected"][challenger("rf").host])
        return statuses(server, 1, **WAIT)[0]

    assert [ask() for _ in range(limits.BREAKER_FAILURES)] == ["error"] * limits.BREAKER_FAILURES
    assert ask() == "skipped"
    assert len(host.questions) == limits.BREAKER_FAILURES


def test_a_challenger_that_never_ends_opens_it(shadowed, server, monkeypatch):
    monkeypatch.setattr(limits, "CHALLENGER_TIMEOUT_MIN_S", 0.05)
    monkeypatch.setattr(limits, "BREAKER_FAILURES", 1)
    host = shadowed(hangs)
    assert statuses(server, 1, x_gnomon_timeout_ms="25", **WAIT) == ["timeout"]
    assert statuses(server, 1, **WAIT) == ["skipped"]
    assert len(host.questions) == 1


def test_every_request_of_a_challenger_is_accounted_for(shadowed, server):
    host = shadowed(doubles)
    statuses(server, 3, **WAIT)
    host.answer = out_of_memory
    statuses(server, limits.BREAKER_FAILURES + 4, **WAIT)

    tally = server.front.stats()["models"]["7"]["rf"]

    assert tally["ok"] == 3
    assert tally["error"] == limits.BREAKER_FAILURES
    assert tally["skipped"] >= 1
    assert sum(tally[status] for status in Status) == limits.BREAKER_FAILURES + 7
    assert tally["sampled"] == limits.BREAKER_FAILURES + 7
