"""Several hosts for one model: all are used, and one that is killed takes only what ran there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

import gnomon
from tests import hostile_models
from tests.end_to_end.callers import Callers, Heard, first_output
from tests.end_to_end.truth import told_by_onnxruntime
from tests.waiting import until

THREADS = 9  # three requests for each host: one runs, the others wait
WIDTH = 1000.0  # of the matrices that are multiplied: each request takes some milliseconds
BODY = {"x": [[WIDTH, 1.0]]}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "slow.onnx"
    path.write_bytes(hostile_models.one_long_node())
    return path


@pytest.fixture(scope="module")
def pipeline(shared_server, file):
    """A slow model that runs each request alone, in three hosts."""
    client = shared_server.client()
    model = client.upload_model("slow", file).configure(batch_config="single")
    config = gnomon.DeploymentConfigBuilder().replica_count(3).memory("512Mi").build()
    return client.build_pipeline("slow").add_model_step(model).deploy(deployment_config=config)


def hosts_of(pipeline) -> list[dict]:
    [engine] = pipeline.status()["engines"]
    [model] = engine["model_statuses"]["models"]
    return model["hosts"]


def all_ready(pipeline) -> bool:
    return [host["state"] for host in hosts_of(pipeline)] == ["ready"] * 3


def connected(server) -> int:
    [front] = server.front_stats()
    return sum(front["connected"].values())


def test_three_hosts_are_up_each_with_its_own_cap(shared_server, pipeline):
    assert all_ready(pipeline)
    processes = [psutil.Process(host["pid"]) for host in hosts_of(pipeline)]
    assert len(processes) == 3
    assert {process.nice() for process in processes} == {0}
    [cap] = {process.rlimit(psutil.RLIMIT_AS)[0] for process in processes}
    assert 0 < cap < 4 * 2**30


def kill_one(pipeline, heard: Heard) -> None:
    answers = heard.answers
    os.kill(hosts_of(pipeline)[1]["pid"], signal.SIGKILL)
    until(lambda: heard.answers > answers + 2 * THREADS)


def test_a_host_that_is_killed_under_load_takes_only_what_ran_there(shared_server, pipeline, file):
    truth = told_by_onnxruntime(file, np.array(BODY["x"], np.float32))

    def is_right(_: int, answer) -> bool:
        return first_output(answer).tobytes() == truth.tobytes()

    before = shared_server.runs("slow")
    callers = Callers(pipeline.url(), shared_server.token, [BODY], is_right, threads=THREADS)
    kills = 3
    with callers as heard:
        for _ in range(kills):
            until(lambda: all_ready(pipeline) and connected(shared_server) == 3)
            kill_one(pipeline, heard)
    until(lambda: all_ready(pipeline) and connected(shared_server) == 3)

    # Each kill failed the one request that ran there, at most; all others were answered.
    assert set(heard.failures) <= {"503 host_unavailable"}
    assert heard.failures.total() <= kills
    assert heard.wrong == []
    counted = shared_server.runs("slow") - before
    assert counted["ok"] == heard.answers
    assert counted["error"] == heard.failures.total()
    assert [host["restarts"] for host in hosts_of(pipeline)] == [0, kills, 0]


def test_fewer_hosts_are_a_deploy_and_no_request_fails(shared_server, pipeline):
    first = hosts_of(pipeline)[0]["pid"]
    with Callers(pipeline.url(), shared_server.token, [BODY], threads=4) as heard:
        pipeline.deploy(deployment_config=gnomon.DeploymentConfigBuilder().memory("512Mi").build())
        until(lambda: connected(shared_server) == 1)
    assert heard.failures == {}
    assert [host["pid"] for host in hosts_of(pipeline)] == [first]
