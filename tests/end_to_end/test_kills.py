"""kill -9 of each kind of process in turn, under a deployed pipeline."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from gnomon import samples
from gnomon.object import InferenceError
from tests import hostile_models
from tests.processes import works
from tests.waiting import until

SMOKE = samples.smoke_test_path()


def deploy_samples(server):
    client = server.client()
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [
        client.upload_model(name, path) for name, path in samples.challenger_paths().items()
    ]
    pipeline = client.build_pipeline("fraud")
    pipeline.add_shadow_deploy(champion, challengers)
    return pipeline.deploy()


def answer_of(pipeline) -> float:
    return pipeline.infer_from_file(SMOKE)[0].data()[0].item()


class Callers:
    """Infers without a pause from another thread, and keeps what went wrong."""

    def __init__(self, pipeline) -> None:
        self.pipeline = pipeline
        self.expected = answer_of(pipeline)
        self.answers = 0
        self.failures: list[str] = []
        self.wrong: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self):
        self._thread.start()
        until(lambda: self.answers > 3)
        return self

    def __exit__(self, *_):
        before = self.answers
        until(lambda: self.answers + len(self.failures) > before + 3)
        self._over.set()
        self._thread.join()

    def _call(self) -> None:
        while not self._over.is_set():
            try:
                answer = answer_of(self.pipeline)
            except InferenceError as error:
                self.failures.append(str(error))
                self._over.wait(0.01)
                continue
            self.answers += 1
            if answer != self.expected:
                self.wrong.append(answer)


def kill(pid: int) -> float:
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def others(pids: dict[str, int], *names: str) -> dict[str, int]:
    return {name: pid for name, pid in pids.items() if name not in names}


def port_is_open(url: str) -> bool:
    port = int(url.rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_supervisor_takes_everything_with_it_and_everything_comes_back(server):
    pipeline = deploy_samples(server)
    before, url = answer_of(pipeline), pipeline.url()
    version = pipeline.versions()[0].name()
    tree = server.tree()
    assert len(tree) >= 6

    server.kill()

    _, alive = psutil.wait_procs(tree, timeout=5)
    assert alive == []
    assert not port_is_open(server.facts["control_url"])
    assert not port_is_open(server.facts["front_url"])
    server.start()
    pipeline = server.client().get_pipeline("fraud")
    until(lambda: pipeline.status()["status"] == "Running")
    assert pipeline.url() == url
    assert pipeline.versions()[0].name() == version
    assert len(pipeline.logs()) == 3
    assert answer_of(pipeline) == before


def test_no_inference_fails_while_the_control_plane_is_killed_and_comes_back(server):
    pipeline = deploy_samples(server)
    before = server.pids()

    with Callers(pipeline) as callers:
        killed = kill(before["control"])
        until(lambda: server.pids()["control"] != before["control"], within_s=5.0)
        took_s = time.monotonic() - killed

    assert callers.failures == []
    assert callers.wrong == []
    assert took_s < 5.0
    assert others(server.pids(), "control") == others(before, "control")
    assert pipeline.status()["status"] == "Running"


def test_the_front_is_back_on_its_port_and_the_hosts_never_noticed(server):
    pipeline = deploy_samples(server)
    before, url, expected = server.pids(), pipeline.url(), answer_of(pipeline)

    killed = kill(before["front"])

    def answers() -> bool:
        try:
            return answer_of(pipeline) == expected
        except Exception:
            return False

    until(answers, within_s=3.0)
    assert time.monotonic() - killed < 3.0
    assert pipeline.url() == url
    assert others(server.pids(), "front") == others(before, "front")


def test_the_nursery_is_missed_by_nobody(server):
    pipeline = deploy_samples(server)
    before = server.pids()

    with Callers(pipeline) as callers:
        kill(before["nursery"])
        until(lambda: server.pids()["nursery"] not in (None, before["nursery"]))

    assert callers.failures == []
    assert others(server.pids(), "nursery") == others(before, "nursery")
    other = server.client().build_pipeline("other")
    other.add_model_step(server.client().get_model(samples.CHAMPION))
    assert answer_of(other.deploy()) == callers.expected


def test_callers_of_a_killed_champion_hear_at_once_and_it_is_back(server, tmp_path: Path):
    path = tmp_path / "endless.onnx"
    path.write_bytes(hostile_models.endless_loop(on_input=True))
    client = server.client()
    pipeline = client.build_pipeline("endless")
    pipeline.add_model_step(client.upload_model("endless", path)).deploy()
    fine = {"x": [[1.0, 2.0]]}
    pipeline.infer(fine)
    pid = server.pids()["endless"]
    answers = []
    caller = threading.Thread(
        target=lambda: answers.append(
            (server.post(pipeline.url(), {"x": [[1000.0, 0.0]]}), time.monotonic())
        )
    )
    caller.start()
    until(lambda: psutil.Process(pid).cpu_times().user > 0.3)

    killed = kill(pid)

    caller.join(timeout=5)
    [(response, heard)] = answers
    assert response.status == 503
    assert response.json()["error_code"] == "host_unavailable"
    assert heard - killed < 0.1 * 5  # a deadline of five times the figure

    def is_back() -> bool:
        return server.post(pipeline.url(), fine).status == 200

    until(is_back, within_s=3.0)
    assert server.pids()["endless"] != pid


def test_a_killed_challenger_is_only_an_error_beside_the_same_answer(server, tmp_path: Path):
    # Given a challenger that a certain input keeps busy for ever
    path = tmp_path / "endless.onnx"
    path.write_bytes(hostile_models.endless_loop(on_input=True))
    good = tmp_path / "good.onnx"
    good.write_bytes(hostile_models.doubling())
    client = server.client()
    pipeline = client.build_pipeline("shadowed")
    pipeline.add_shadow_deploy(
        client.upload_model("good", good), [client.upload_model("endless", path)]
    ).deploy()
    before = server.pids()
    results = []
    caller = threading.Thread(
        target=lambda: results.extend(
            pipeline.infer({"x": [[1000.0, 0.0]]}, shadow_wait_ms=20_000, request_id="killed")
        )
    )
    caller.start()
    until(lambda: psutil.Process(before["endless"]).cpu_times().user > 0.3)

    # When it is killed in the middle
    kill(before["endless"])

    # Then the champion's answer is what it always is, and the challenger's fate is told and logged
    caller.join(timeout=5)
    [result] = results
    np.testing.assert_array_equal(result.data()[0], [[2000.0, 0.0]])
    assert result.challengers["endless"].status == "error"
    assert result.shadow_data() == {}
    entries = {entry.model_name: entry for entry in pipeline.logs() if entry.request_id == "killed"}
    assert entries["good"].status == "ok"
    assert entries["endless"].status == "error"
    assert others(server.pids(), "endless") == others(before, "endless")
    until(lambda: pipeline.infer({"x": [[1.0, 0.0]]})[0].challengers["endless"].status == "ok")


def test_a_host_that_is_stopped_is_replaced(server):
    pipeline = deploy_samples(server)
    before = server.pids()
    stopped = before[samples.CHAMPION]

    os.kill(stopped, signal.SIGSTOP)

    late = server.post(pipeline.url(), SMOKE.read_bytes(), X_Gnomon_Timeout_Ms="300")
    assert (late.status, late.json()["error_code"]) == (504, "inference_timeout")

    def answers() -> bool:
        return server.post(pipeline.url(), SMOKE.read_bytes()).status == 200

    until(answers, within_s=10.0)
    assert server.pids()[samples.CHAMPION] not in (None, stopped)
    assert others(server.pids(), samples.CHAMPION) == others(before, samples.CHAMPION)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_stop_leaves_nothing(server, number):
    deploy_samples(server)
    tree = server.tree()

    server.process.send_signal(number)

    assert server.process.wait(timeout=20) == 0
    assert not any(map(works, tree))
    assert not (server.home / "server.json").exists()
