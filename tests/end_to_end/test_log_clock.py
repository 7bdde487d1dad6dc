"""A server whose clock is set a day ahead and a day back while it serves."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from gnomon.core import limits
from gnomon.object import InferenceError
from tests import hostile_models
from tests.end_to_end.clock import DAY_S, Clock
from tests.end_to_end.conftest import Server
from tests.waiting import until

SETTINGS = {"before": 0, "a-day-ahead": DAY_S, "a-day-back": -DAY_S, "after": 0}
PER_SETTING = 5
MOVED_S = limits.LOG_FLUSH_INTERVAL_S + 10.0
HANGS = {"x": [[1000.0, 0.0]]}


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def server(clock, tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    server = Server(tmp_path / "home")
    with pytest.MonkeyPatch.context() as patch:
        for name, text in clock.environment.items():
            patch.setenv(name, text)
        server.start()
    yield server
    clock.set_by(0)
    server.stop()


def upload(server, directory, name: str, content: bytes):
    path = directory / f"{name}.onnx"
    path.write_bytes(content)
    return server.client().upload_model(name, path)


def test_what_is_logged_under_a_clock_that_is_set_is_whole_and_in_order(server, clock, tmp_path):
    # Given a pipeline that is asked, and deployed anew, whenever the clock was set
    versions = [
        upload(server, tmp_path, "times", hostile_models.doubling(factor=float(factor)))
        for factor in range(1, len(SETTINGS) + 1)
    ]
    rival = upload(server, tmp_path, "rival", hostile_models.doubling(factor=-1.0))
    pipeline = server.client().build_pipeline("clocked")
    deployed, asked, spans = [], [], {}
    following = pipeline._following()
    followed = []
    for setting, seconds in SETTINGS.items():
        clock.set_by(seconds)
        pipeline.clear().add_shadow_deploy(versions[len(deployed)], [rival]).deploy()
        deployed.append(pipeline.versions()[0].name())
        begun = datetime.now(UTC)
        for number in range(PER_SETTING):
            request_id = f"{setting}-{number}"
            [result] = pipeline.infer({"x": [[number, 1.0]]}, request_id=request_id)
            asked.append(request_id)

            # Then its token is as good as ever, the version that was deployed last answers,
            # and times of day say what the clock says
            assert result.data()[0].tolist() == [[number * len(deployed), len(deployed)]]
            said = result.timestamp() - timedelta(seconds=seconds)
            assert timedelta(seconds=-1) < said - begun < timedelta(seconds=10)
        spans[setting] = begun, datetime.now(UTC)
        followed += [request.request_id for page in following.pages() for request in page]

    def check(entries):
        champions = [entry for entry in entries if entry.label == "times"]
        assert [entry.request_id for entry in champions] == asked[::-1]
        assert {entry.status for entry in entries} == {"ok"}
        # Durations know nothing of it
        assert all(0 < entry.elapsed < 5e9 for entry in entries)
        for setting, seconds in SETTINGS.items():
            start, end = (moment + timedelta(seconds=seconds) for moment in spans[setting])
            found = pipeline.logs(start_datetime=start, end_datetime=end, model="times")
            assert [each.request_id for each in found] == [
                each for each in asked if each.startswith(setting)
            ]

    # and who follows the log sees all of it, once
    assert followed == asked

    # and the log has all of it in the order of the answers, fresh and in the table
    until(lambda: not server.waiting("rival"))
    check(pipeline.logs())
    count = len(asked)
    until(lambda: pl.read_delta(pipeline.log_table()).height == count, within_s=MOVED_S)
    check(pipeline.logs())
    *newest_first, _ = [each.name() for each in pipeline.versions()]  # the first one is empty
    assert newest_first == deployed[::-1]


@pytest.mark.parametrize("seconds", [DAY_S, -DAY_S], ids=["ahead", "back"])
def test_what_runs_while_the_clock_is_set_has_its_time_no_more_and_no_less(
    server, clock, tmp_path, seconds
):
    # Given a champion that runs until its deadline
    endless = upload(server, tmp_path, "endless", hostile_models.endless_loop(on_input=True))
    pipeline = server.client().build_pipeline("endless").add_model_step(endless).deploy()
    took_s = []

    def ask() -> None:
        sent = time.monotonic()
        with pytest.raises(InferenceError, match="deadline"):
            pipeline.infer(HANGS, timeout=1.5, request_id="late")
        took_s.append(time.monotonic() - sent)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: server.waiting("endless") == 1)

    # When the clock is set meanwhile
    clock.set_by(seconds)
    asking.join()

    # Then its deadline is where it was, and everything goes on
    assert 1.5 <= took_s[0] < 3.0
    assert pipeline.infer({"x": [[1.0, 2.0]]}, request_id="next")
    assert server.client().get_pipeline("endless").status()["status"] == "Running"
    assert [entry.request_id for entry in pipeline.logs()] == ["next"]


@pytest.mark.parametrize("seconds", [DAY_S, -DAY_S])
def test_how_long_answers_took_knows_nothing_of_the_clock(server, clock, tmp_path, seconds):
    slow = upload(server, tmp_path, "slow", hostile_models.one_long_node())
    pipeline = server.client().build_pipeline("slow").add_model_step(slow).deploy()
    asking = threading.Thread(target=pipeline.infer, args=({"x": [[2500.0, 0.0]]},))
    asking.start()
    until(lambda: server.waiting("slow") == 1)
    clock.set_by(seconds)
    asking.join()
    [model] = pipeline.status()["engines"][0]["model_statuses"]["models"]
    assert pipeline.logs()[0].elapsed / 1e6 * 0.9 < model["p99_ms"] < 10_000
