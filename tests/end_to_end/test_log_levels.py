"""What a real server promises of a pipeline's log: durable, off, with a full disk, redacted."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import threading
from collections import Counter

import pytest
import urllib3

from gnomon import samples
from tests.end_to_end.callers import Callers
from tests.end_to_end.conftest import running
from tests.waiting import until

BODY = {"tensor": samples.held_out()[0][:1].astype(float).tolist()}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("server") / "home")


@pytest.fixture(scope="module")
def deploy(server):
    """Deploy the samples' champion with a challenger, logged so."""
    client = server.client()
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    rival = client.upload_model(samples.BOOSTED, samples.challenger_paths()[samples.BOOSTED])

    def deploy(name: str, *log, **more):
        pipeline = client.build_pipeline(name).add_shadow_deploy(champion, [rival])
        return pipeline.configure_log(*log, **more).deploy()

    return deploy


def logged(pipeline) -> Counter[str]:
    """Return how many entries there are of each request."""
    return Counter(entry.request_id for entry in pipeline.logs(limit=100_000))


def test_every_answer_of_a_durable_pipeline_is_in_the_log_whoever_is_killed(server, deploy):
    # Given callers of a pipeline whose answers wait for the disk
    pipeline = deploy("durable", "durable")
    answered: set[str] = set()
    over = threading.Event()

    def call(caller: int) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            request_id = f"{caller}-{number}"
            with contextlib.suppress(urllib3.exceptions.HTTPError):  # once, and never again
                if ask(server, pipeline, request_id).status == 200:
                    answered.add(request_id)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for caller in callers:
        caller.start()

    # When the front is killed again and again under load
    for count in (1, 2, 3):
        before = len(answered)
        until(lambda was=before, count=count: len(answered) > was + 100 + 37 * count, within_s=30)
        pid = server.pids()["front"]
        os.kill(pid, signal.SIGKILL)
        until(lambda was=pid: server.pids()["front"] not in (None, was), within_s=30)
    before = len(answered)
    until(lambda: len(answered) > before + 50, within_s=30)
    over.set()
    for caller in callers:
        caller.join()

    # Then each answer is in the log, and each once: with an entry of each model
    found = logged(pipeline)
    assert answered - set(found) == set()
    assert set(found.values()) == {2}
    assert len(answered) > 450
    [front] = server.front_stats()
    assert (front["log"]["dropped"], front["log"]["undurable"]) == (0, 0)


@contextlib.contextmanager
def full_disk(server):
    """Let the front write to no file."""
    front = server.pids()["front"]
    before = resource.prlimit(front, resource.RLIMIT_FSIZE)
    resource.prlimit(front, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(front, resource.RLIMIT_FSIZE, before)


def ask(server, pipeline, request_id: str):
    return server.post(pipeline.url(), BODY, X_Gnomon_Request_Id=request_id)


def test_a_full_disk_costs_nobody_an_answer_unless_the_log_fails_closed(server, deploy):
    serving = {name: deploy(f"serve-{name}", name) for name in ("async", "durable")}
    closed = {name: deploy(f"closed-{name}", name, "fail_closed") for name in serving}
    answered: dict[str, set[str]] = {pipeline.name(): set() for pipeline in serving.values()}
    answered |= {pipeline.name(): set() for pipeline in closed.values()}

    def answers(pipeline, request_id: str) -> bool:
        answer = ask(server, pipeline, request_id)
        if answer.status == 200:
            answered[pipeline.name()].add(request_id)
            return True
        assert answer.status == 507
        assert answer.json()["error_code"] == "not_logged"
        assert answer.headers["Retry-After"] == "1"
        assert str(server.home) not in answer.json()["error"]
        return False

    everyone = [*serving.values(), *closed.values()]
    assert all(answers(pipeline, "before") for pipeline in everyone)

    with full_disk(server):
        # The first answer that waits for the disk finds it full; it is given all the same, or not
        assert answers(serving["durable"], "full")
        assert server.front_stats()[0]["log"]["degraded"]
        [told] = serving["durable"].status()["details"]
        assert told.startswith("front: its log cannot be written now (")
        assert not answers(closed["durable"], "full")
        assert not answers(closed["async"], "full")
        for number in range(20):
            assert all(answers(each, f"full-{number}") for each in serving.values())
            assert not any(answers(each, f"full-{number}") for each in closed.values())
        assert server.front_stats()[0]["log"]["undurable"] >= 20

    # With room again it goes on by itself
    for pipeline in closed.values():
        ids = (f"after-{number}" for number in itertools.count())
        until(lambda each=pipeline, ids=ids: answers(each, next(ids)), within_s=10)
    assert all(answers(pipeline, "after") for pipeline in everyone)
    # and all that was answered is in the log
    for pipeline in everyone:
        assert answered[pipeline.name()] - set(logged(pipeline)) == set(), pipeline.name()
        assert len(answered[pipeline.name()]) >= (22 if pipeline in serving.values() else 2)
    assert server.front_stats()[0]["log"]["dropped"] == 0


def test_a_pipeline_that_is_off_leaves_nothing_behind_and_says_so(server, deploy):
    pipeline = deploy("off", "off")
    appended = server.front_stats()[0]["log"]["appended"]

    assert [ask(server, pipeline, f"off-{number}").status for number in range(5)] == [200] * 5
    until(lambda: not server.waiting(samples.BOOSTED))

    assert server.front_stats()[0]["log"]["appended"] == appended
    with pytest.warns(UserWarning, match="The log of pipeline 'off' is off"):
        assert pipeline.logs() == []
    pipeline.configure_log("async").deploy()
    assert ask(server, pipeline, "on").status == 200
    assert set(logged(pipeline)) == {"on"}


def test_what_is_left_out_of_the_log_is_still_in_the_answer(server, deploy):
    hidden = ["in.tensor", f"out_{samples.BOOSTED}.variable"]
    pipeline = deploy("redacted", redact=hidden)

    [result] = pipeline.infer(BODY, shadow_wait_ms=10_000)

    assert result.shadow_data()[samples.BOOSTED][0].shape == (1, 1)
    frame = pipeline.logs().to_pandas()
    assert "out.dense_1" in frame.columns
    assert not set(hidden) & set(frame.columns)
    assert [entry.status for entry in pipeline.logs()] == ["ok", "ok"]


def test_who_waits_for_the_disk_is_answered_when_the_server_is_stopped(server, deploy):
    pipeline = deploy("stopped", "durable")
    callers = Callers(pipeline.url(), server.token, [BODY], threads=8, retries=True)

    with callers as heard:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not callers.calling, within_s=10.0)

    assert heard.failures == {}
    assert heard.refused == 8
    assert server.process.wait(timeout=10) == 0
    server.start()
    pipeline = server.client().get_pipeline("stopped")
    assert heard.answers <= sum(logged(pipeline).values()) / 2 <= heard.answers + heard.again
