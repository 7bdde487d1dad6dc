"""Challengers that misbehave in every way: the champion's answers stay what they are.

Each answer is compared, to the last bit, with what ONNX Runtime says in a process of its own; and
what became of each challenger's runs is accounted for, in counts and in the log.
"""

import os
import signal
from collections import Counter

import pytest

from bench.isolation import models
from bench.overload.models import busy
from gnomon import samples
from gnomon.core import limits
from tests.end_to_end.callers import Callers, first_output
from tests.end_to_end.truth import told_by_onnxruntime
from tests.waiting import until

REQUESTS = 120
STATUSES = ("ok", "error", "timeout", "dropped", "schema", "skipped", "lost", "pending")


@pytest.fixture(scope="module")
def rows():
    return samples.held_out()[0][:6]


@pytest.fixture(scope="module")
def truth(rows):
    return told_by_onnxruntime(samples.champion_path(), rows)


@pytest.fixture(scope="module")
def champion(shared_server):
    return shared_server.client().upload_model("champion", samples.champion_path())


@pytest.fixture
def shadowed(shared_server, champion, tmp_path):
    """Deploy the champion beside a challenger of the given content; undeploy it afterwards."""
    client, deployed = shared_server.client(), []

    def deploy(name: str, content: bytes):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        pipeline = client.build_pipeline(name)
        pipeline.add_shadow_deploy(champion, [client.upload_model(name, path)]).deploy()
        deployed.append(pipeline)
        return pipeline

    yield deploy
    for pipeline in deployed:
        pipeline.undeploy()


@pytest.fixture
def calling(shared_server, rows, truth):
    """Callers of a pipeline who know what the champion says to each row."""

    def calling(pipeline, most: int | None = None) -> Callers:
        return Callers(
            pipeline.url(),
            shared_server.token,
            [{"tensor": [row.astype(float).tolist()]} for row in rows],
            lambda index, answer: first_output(answer).tobytes() == truth[index].tobytes(),
            threads=3,
            most=most,
            X_Gnomon_Timeout_Ms="1000",  # a challenger then has five seconds
        )

    return calling


def content_of(name: str, row, tmp_path) -> bytes:
    """Return a challenger that misbehaves on this row."""
    if name == "slow":
        return models.slow(row, samples.champion_path(), tmp_path)
    makers = {
        "errors": models.erring,
        "crashes": models.crashing,
        "hangs": models.hanging,
        "eats": models.eating,
    }
    return makers[name](row)


@pytest.mark.parametrize("name", ["slow", "errors", "crashes", "hangs", "eats"])
def test_the_champion_answers_as_ever_beside_a_challenger_that(
    shared_server, shadowed, calling, rows, tmp_path, name
):
    # Given a challenger that misbehaves on one row of six
    pipeline = shadowed(name, content_of(name, rows[:1], tmp_path))

    # When all rows are asked for again and again
    callers = calling(pipeline, most=REQUESTS)
    with callers as heard:
        until(lambda: not callers.calling)

    # Then every answer is the champion's own, to the last bit
    assert heard.failures == {}
    assert heard.wrong == []

    # and each of the challenger's runs is accounted for, and in the log
    until(lambda: not shared_server.waiting(name), within_s=8.0)
    counts = shared_server.runs(name)
    assert sum(counts[status] for status in STATUSES) == REQUESTS
    entries = pipeline.logs(limit=1_000)
    logged = Counter(entry.status for entry in entries if entry.model_name == name)
    assert logged == Counter({status: counts[status] for status in STATUSES if counts[status]})
    assert Counter(entry.status for entry in entries if entry.model_name == "champion") == {
        "ok": REQUESTS
    }
    if name not in ("slow", "hangs"):
        assert counts["error"] > 0


def test_what_a_slow_challenger_cannot_take_is_dropped_and_said(
    shared_server, shadowed, calling, rows, tmp_path
):
    # Given a challenger that takes 10 ms a row, and more requests than may wait for it
    pipeline = shadowed("slower", busy(rows[:1], 0.01, tmp_path).read_bytes())
    requests = limits.CHALLENGER_QUEUE_REQUESTS_MAX + 200
    callers = calling(pipeline, most=requests)

    with callers as heard:
        until(lambda: not callers.calling)

    assert heard.failures == {}
    assert heard.wrong == []
    until(lambda: not shared_server.waiting("slower"), within_s=8.0)
    counts = shared_server.runs("slower")
    assert counts["dropped"] > 0
    assert sum(counts[status] for status in STATUSES) == requests
    entries = pipeline.logs(limit=1_000)
    logged = Counter(entry.status for entry in entries if entry.model_name == "slower")
    assert logged == Counter({status: counts[status] for status in STATUSES if counts[status]})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_champion_answers_as_ever_beside_a_challenger_that_is_sent(
    shared_server, shadowed, calling, number
):
    name = f"sent-{number.name.lower()}"
    pipeline = shadowed(name, samples.challenger_paths()["fraud-forest"].read_bytes())
    before = shared_server.pids()

    with calling(pipeline) as heard:
        os.kill(before[name], number)
        until(lambda: shared_server.pids()[name] not in (None, before[name]), within_s=12.0)

    assert heard.failures == {}
    assert heard.wrong == []
    assert shared_server.pids()["champion"] == before["champion"]
    counts = shared_server.runs(name)
    assert counts["error"] + counts["timeout"] + counts["dropped"] > 0
