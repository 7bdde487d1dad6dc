"""When answers are given, by what their pipeline's log is to do, with a log of this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gnomon.core.inference import InferenceEntry
from gnomon.core.log_settings import LogSettings
from gnomon.core.plan import Split
from gnomon.core.routing import Route
from tests.front.desk import Desk, broken, data_of, json_of, status_of
from tests.front.models import challenger, champion, route, spec, stage, staged

OFF = LogSettings(level="off")
DURABLE = LogSettings(level="durable")
CLOSED = LogSettings(when_full="fail_closed")
STRICT = LogSettings(level="durable", when_full="fail_closed")

SHADOWED = route(champion(), challenger("rf"))

ROWS = [{"tensor": [[0.5, 0.25]]}, {"tensor": [[1.5, 0.25]]}]
ONE_BY_ONE = [[{"tensor": [0.5, 0.25]}], [{"tensor": [1.5, 0.25]}]]  # records travel alone


@pytest.fixture
def at() -> Iterator:
    """Makes desks whose log is set so."""
    made: list[Desk] = []

    def make(settings: LogSettings, of: Route = SHADOWED) -> Desk:
        made.append(Desk(replace(of, log=settings)))
        return made[-1]

    yield make
    for desk in made:
        desk.loop.close()


def is_answered(call) -> bool:
    return call.answer_bytes is not None


@pytest.mark.parametrize("wait_ms", [0, 1_000])
def test_off_logs_nothing_and_everything_else_is_as_ever(at, wait_ms):
    desk = at(OFF)
    calls = desk.infer_together(ROWS, x_gnomon_shadow_wait_ms=wait_ms)
    assert [status_of(call) for call in calls] == [200, 200]
    assert desk.log.entries == []
    assert desk.status("ccfraud") == desk.status("rf") == {"ok": 2}
    if wait_ms:
        assert set(json_of(calls[0])[0]["challengers"]) == {"rf"}


@pytest.mark.parametrize("bodies", [ROWS, ONE_BY_ONE])
@pytest.mark.parametrize("settings", [DURABLE, STRICT])
def test_a_durable_answer_waits_until_its_entry_is_on_the_disk(at, settings, bodies):
    desk = at(settings)
    desk.log.holding = True
    calls = desk.infer_together(bodies)
    # The champion has run, and so have the challengers meanwhile
    assert desk.status("ccfraud") == desk.status("rf") == {"ok": 2}
    assert not any(map(is_answered, calls))
    inferences, observations = desk.log.inferences(), desk.log.observations()
    assert sum(len(each.request_ids) for each in inferences) == 2
    assert isinstance(desk.log.entries[0], InferenceEntry)
    assert {each.ticket for each in observations} == {each.ticket for each in inferences}

    desk.do(lambda: desk.log.settle(is_kept=True))

    assert [status_of(call) for call in calls] == [200, 200]
    assert len(desk.log.inferences()) == len(inferences), "each is logged once"


def test_a_durable_answer_waits_for_the_disk_and_for_challengers_whichever_is_later(at):
    for disk_first in (True, False):
        desk = at(DURABLE)
        desk.log.holding = desk.channels["rf"].holding = True
        calls = desk.infer_together(ROWS, x_gnomon_shadow_wait_ms=60_000)
        steps = [
            lambda desk=desk: desk.do(lambda: desk.log.settle(is_kept=True)),
            lambda desk=desk: desk.release("rf"),
        ]
        first, second = steps if disk_first else reversed(steps)
        first()
        assert not any(map(is_answered, calls))
        second()
        assert [status_of(call) for call in calls] == [200, 200]
        assert json_of(calls[0])[0]["challengers"]["rf"]["status"] == "ok"


def test_a_durable_answer_waits_for_challengers_no_longer_than_it_may(at):
    desk = at(DURABLE)
    desk.log.holding = desk.channels["rf"].holding = True
    [call] = desk.infer_together(ROWS[:1], x_gnomon_shadow_wait_ms=20)
    desk.do(lambda: desk.log.settle(is_kept=True))
    desk.wait_answered(call)
    assert json_of(call)[0]["challengers"]["rf"]["status"] == "pending"


def test_if_the_commit_fails_the_answer_is_given_all_the_same(at):
    desk = at(DURABLE)
    desk.log.holding = True
    calls = desk.infer_together(ROWS)
    desk.do(lambda: desk.log.settle(is_kept=False))
    assert [data_of(call)[0] for call in calls] == [1.0, 3.0]


def test_if_the_commit_fails_nothing_is_answered_that_fails_closed(at):
    desk = at(STRICT)
    desk.log.holding = True
    calls = desk.infer_together(ROWS)
    desk.do(lambda: desk.log.settle(is_kept=False))
    assert [status_of(call) for call in calls] == [507, 507]
    assert json_of(calls[0])["error_code"] == "not_logged"
    assert b"Retry-After: 1\r\n" in calls[0].answer_bytes


@pytest.mark.parametrize("settings", [CLOSED, STRICT])
@pytest.mark.parametrize("bodies", [ROWS, ONE_BY_ONE])
def test_while_nothing_can_be_logged_what_fails_closed_is_refused_before_it_runs(
    at, settings, bodies
):
    desk = at(settings)
    desk.log.trouble = "the disk is full"
    calls = desk.infer_together(bodies)
    assert [status_of(call) for call in calls] == [507, 507]
    assert "disk" in json_of(calls[0])["error"]
    assert desk.channels["ccfraud"].runs == desk.channels["rf"].runs == desk.log.entries == []
    assert desk.status("ccfraud") == {"dropped": 2}
    # and it recovers by itself
    desk.log.trouble = None
    assert [status_of(call) for call in desk.infer_together(bodies)] == [200, 200]


@pytest.mark.parametrize("settings", [CLOSED, STRICT])
@pytest.mark.parametrize("wait_ms", [0, 1_000])
def test_what_the_log_drops_is_not_answered_if_it_fails_closed(at, settings, wait_ms):
    desk = at(settings)
    desk.log.is_full = True
    calls = desk.infer_together(ROWS, x_gnomon_shadow_wait_ms=wait_ms)
    assert [status_of(call) for call in calls] == [507, 507]


@pytest.mark.parametrize("settings", [CLOSED, STRICT])
def test_trouble_that_begins_while_the_champion_runs_is_heard_of(at, settings):
    desk = at(settings)
    desk.channels["ccfraud"].holding = True
    calls = desk.infer_together(ROWS)
    desk.log.trouble = "the disk is full"
    desk.release("ccfraud")
    assert [status_of(call) for call in calls] == [507, 507]
    assert desk.log.entries == []
    assert desk.channels["rf"].runs == []


@pytest.mark.parametrize("settings", [LogSettings(), DURABLE])
@pytest.mark.parametrize("trouble", ["is_full", "trouble"])
def test_what_serves_answers_whatever_the_log_does(at, settings, trouble):
    desk = at(settings)
    setattr(desk.log, trouble, "the disk is full")
    calls = desk.infer_together(ROWS)
    assert [data_of(call)[0] for call in calls] == [1.0, 3.0]


def test_a_strict_log_is_written_before_the_answer_and_once(at):
    desk = at(CLOSED)
    calls = desk.infer_together(ROWS)
    assert [status_of(call) for call in calls] == [200, 200]
    assert len(desk.log.inferences()) == 1
    assert len(desk.log.observations()) == 1


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("wait_ms", [0, 1_000])
def test_several_stages_are_logged_first_too(at, is_kept, wait_ms):
    # Given a split, and behind it a stage with a challenger
    ways = [champion(label, outputs=(spec("z"),)) for label in ("left", "right")]
    last = champion("last", inputs=(spec("z"),))
    watching = challenger("rf", inputs=(spec("z"),))
    split = stage(*ways, split=Split(shares=(0.5, 0.5)))
    desk = at(STRICT, of=staged(split, stage(last, challengers=1), challengers=(watching,)))
    desk.log.holding = True

    calls = desk.infer_together(ROWS * 4, x_gnomon_shadow_wait_ms=wait_ms)
    assert not any(map(is_answered, calls))
    assert sum(len(entry.request_ids) for entry in desk.log.inferences()) == len(calls)
    desk.do(lambda: desk.log.settle(is_kept=is_kept))

    assert {status_of(call) for call in calls} == {200 if is_kept else 507}
    assert sum(len(entry.request_ids) for entry in desk.log.observations()) == len(calls)


def test_a_disk_that_hangs_ends_a_request_at_its_deadline(at):
    desk = at(DURABLE)
    desk.log.holding = True
    calls = desk.infer_together(ROWS, x_gnomon_timeout_ms=30)
    for call in calls:
        desk.wait_answered(call)
    assert [status_of(call) for call in calls] == [504, 504]
    assert "disk" in json_of(calls[0])["error"]
    # what the disk says afterwards is heard by nobody
    desk.do(lambda: desk.log.settle(is_kept=True))
    assert [status_of(call) for call in calls] == [504, 504]


@pytest.mark.parametrize("settings", [DURABLE, STRICT])
def test_what_the_champion_cannot_answer_is_refused_and_not_logged(at, settings):
    desk = at(settings)
    desk.channels["ccfraud"].run = broken
    calls = desk.infer_together(ROWS)
    assert [status_of(call) for call in calls] == [422, 422]
    assert desk.log.entries == []
