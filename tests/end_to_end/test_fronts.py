"""Two fronts that share a port: both answer, log and switch; one that dies is not missed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from gnomon.core.errors import Invalid, ServerUnreachable
from gnomon.front.client import FrontClient
from gnomon.server import ServeOptions, serve
from gnomon.settings import Home
from tests import hostile_models
from tests.end_to_end.conftest import Server, running
from tests.processes import works
from tests.waiting import until

ROW = {"x": [[1.0, 2.0]]}
FRONTS = 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    yield from running(tmp_path / "home", "--fronts", str(FRONTS))


def deployed(server: Server, directory: Path, factor: float = 2.0):
    """Deploy (again) the pipeline `times`, whose model multiplies by `factor`."""
    path = directory / f"times-{factor}.onnx"
    path.write_bytes(hostile_models.doubling(factor=factor))
    client = server.client()
    pipeline = client.build_pipeline("times")
    return pipeline.add_model_step(client.upload_model("times", path)).deploy()


def requests_of(server: Server, index: int) -> int:
    return FrontClient(Home(server.home).front_socket(index)).stats()["requests"]


def answers(server: Server, index: int) -> bool:
    """Say whether a front has answered an inference since it was started."""
    try:
        return requests_of(server, index) > 0
    except ServerUnreachable:
        return False


@dataclass
class Caller:
    """One connection that is kept, and the request that it sends."""

    server: Server
    url: str
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        place = self.server.facts["front_url"].removeprefix("http://")
        self.connection = http.client.HTTPConnection(place, timeout=20)

    def ask(
        self, row: dict = ROW, request_id: str = "", timeout_ms: int = 10_000
    ) -> tuple[int, dict]:
        headers = {
            "X-Gnomon-Timeout-Ms": str(timeout_ms),
            "Authorization": f"Bearer {self.server.token}",
            "Content-Type": "application/json",
            **({"X-Gnomon-Request-Id": request_id} if request_id else {}),
        }
        path = self.url.removeprefix(self.server.facts["front_url"])
        self.connection.request("POST", path, json.dumps(row), headers)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def value(self) -> float | None:
        status, answer = self.ask()
        return answer[0]["outputs"][0]["Float"]["data"][0] if status == 200 else None


def callers_of_each(server: Server, url: str) -> list[Caller]:
    """Return a caller for each front, connected to it."""
    found: dict[int, Caller] = {}
    for _ in range(64):
        before = [requests_of(server, index) for index in range(FRONTS)]
        caller = Caller(server, url)
        assert caller.ask()[0] == 200
        [index] = [i for i in range(FRONTS) if requests_of(server, i) > before[i]]
        if found.setdefault(index, caller) is not caller:
            caller.connection.close()
        if len(found) == FRONTS:
            return [found[index] for index in range(FRONTS)]
    raise AssertionError(f"64 connections, all of them to front {[*found]}")


def test_every_front_answers_and_the_log_has_what_all_of_them_answered(server, tmp_path):
    pipeline = deployed(server, tmp_path)
    callers = callers_of_each(server, pipeline.url())

    for index, caller in enumerate(callers):
        status, _ = caller.ask(request_id=f"asked-front-{index}")
        assert status == 200

    logged = {entry.request_id for entry in pipeline.logs()}
    assert {"asked-front-0", "asked-front-1"} <= logged
    assert len(list((server.home / "inference-log").glob("front-*.sqlite"))) == FRONTS


def test_connections_are_shared_out(server, tmp_path):
    url = deployed(server, tmp_path).url()
    before = [requests_of(server, index) for index in range(FRONTS)]

    callers = [Caller(server, url) for _ in range(24)]
    for caller in callers:
        caller.connection.connect()  # all at once: the one that wakes first could take them all
    assert all(caller.value() == 2.0 for caller in callers)

    shares = [requests_of(server, index) - before[index] for index in range(FRONTS)]
    assert sum(shares) == 24
    assert min(shares) >= 8


def test_a_deploy_an_undeploy_and_a_redeploy_reach_every_front_before_they_return(server, tmp_path):
    pipeline = deployed(server, tmp_path)
    callers = callers_of_each(server, pipeline.url())
    assert [caller.value() for caller in callers] == [2.0, 2.0]

    deployed(server, tmp_path, factor=3.0)
    assert [caller.value() for caller in callers] == [3.0, 3.0]

    pipeline.undeploy()
    assert [caller.ask()[0] for caller in callers] == [404, 404]

    deployed(server, tmp_path, factor=5.0)
    assert [caller.value() for caller in callers] == [5.0, 5.0]


class Crowd:
    """Several callers without a pause, each of which tries a request that failed once again."""

    def __init__(self, server: Server, url: str, callers: int) -> None:
        self.answers = [0] * callers
        self.retried = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(index, Caller(server, url)))
            for index in range(callers)
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        until(lambda: min(self.answers) > 3)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, index: int, caller: Caller) -> None:
        while not self._over.is_set():
            try:
                try:
                    value = caller.value()
                except (OSError, http.client.HTTPException):
                    self.retried += 1
                    caller.connection.close()
                    value = caller.value()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                caller.connection.close()
                continue
            if value != 2.0:
                self.failures.append(f"answered {value}")
            self.answers[index] += 1


def test_one_front_dies_under_load_and_nobody_retries_twice(server, tmp_path):
    url = deployed(server, tmp_path).url()
    callers_of_each(server, url)
    before = server.pids()
    assert {"front-0", "front-1"} <= before.keys()

    with Crowd(server, url, callers=8) as crowd:
        os.kill(before["front-0"], signal.SIGKILL)
        killed = time.monotonic()
        answered = list(crowd.answers)
        until(
            lambda: all(now > then + 3 for now, then in zip(crowd.answers, answered, strict=True))
        )
        all_went_on_s = time.monotonic() - killed

        until(lambda: Caller(server, url).value() == 2.0 and answers(server, 0), within_s=3.0)
        back_s = time.monotonic() - killed

    assert crowd.failures == []
    assert 1 <= crowd.retried <= 8  # once each, if it was with the front that died
    assert all_went_on_s < 1.0
    assert back_s < 3.0
    after = server.pids()
    assert after.pop("front-0") != before.pop("front-0")
    assert after == before


def test_a_front_that_hangs_takes_no_new_connection_with_it(server, tmp_path):
    url = deployed(server, tmp_path).url()
    stopped = server.pids()["front-1"]

    os.kill(stopped, signal.SIGSTOP)
    try:
        for _ in range(10):
            asked = time.monotonic()
            assert Caller(server, url).value() == 2.0
            assert time.monotonic() - asked < 1.0
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_caller_without_patience_does_not_end_the_run_of_another_front(server, tmp_path):
    path = tmp_path / "endless.onnx"
    path.write_bytes(hostile_models.endless_loop(on_input=True))
    client = server.client()
    pipeline = client.build_pipeline("endless")
    pipeline.add_model_step(client.upload_model("endless", path)).deploy()
    patient, hurried = callers_of_each(server, pipeline.url())
    pid = server.pids()["endless"]
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(patient.ask({"x": [[1000.0, 0.0]]}, timeout_ms=4_000)[0])
    )
    asking.start()
    until(lambda: psutil.Process(pid).cpu_times().user > 0.2)

    status, _ = hurried.ask(timeout_ms=100)

    assert status == 504
    asking.join()
    assert answers == [504]  # at its own deadline, and not 503 before
    assert server.pids()["endless"] == pid


def test_a_front_that_is_back_routes_as_the_others_do(server, tmp_path):
    pipeline = deployed(server, tmp_path)
    before = server.pids()["front-1"]
    os.kill(before, signal.SIGKILL)

    deployed(server, tmp_path, factor=7.0)  # done when each has switched, the new one too

    callers = callers_of_each(server, pipeline.url())
    assert [caller.value() for caller in callers] == [7.0, 7.0]
    assert server.pids()["front-1"] != before


def test_the_log_of_a_front_that_is_no_more_is_still_read_and_what_it_left_open_is_lost(tmp_path):
    # Given a challenger that runs for ever, asked through both fronts, when everything is killed
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    endless = tmp_path / "endless.onnx"
    endless.write_bytes(hostile_models.endless_loop(on_input=True))
    good = tmp_path / "good.onnx"
    good.write_bytes(hostile_models.doubling())
    two = Server(home, ("--fronts", "2"))
    two.start()
    try:
        client = two.client()
        pipeline = client.build_pipeline("times")
        pipeline.add_shadow_deploy(
            client.upload_model("good", good), [client.upload_model("endless", endless)]
        ).deploy()
        for index, caller in enumerate(callers_of_each(two, pipeline.url())):
            assert caller.ask({"x": [[1000.0, 0.0]]}, request_id=f"asked-front-{index}")[0] == 200
        logged = [(entry.request_id, entry.model_name) for entry in pipeline.logs()]
    finally:
        two.kill()

    # When it is started again with one front
    one = Server(home)
    one.start()
    try:
        assert {"front"} == {name for name in one.pids() if name.startswith("front")}
        pipeline = one.client().get_pipeline("times")

        # Then it has the entries of both, and no outcome is awaited from either
        entries = pipeline.logs()
        assert [(entry.request_id, entry.model_name) for entry in entries] == logged
        outcomes = {
            entry.request_id: entry.status
            for entry in entries
            if entry.model_name == "endless" and entry.request_id.startswith("asked-front")
        }
        assert outcomes == {"asked-front-0": "lost", "asked-front-1": "lost"}
        until(lambda: pipeline.status()["status"] == "Running")
        np.testing.assert_array_equal(pipeline.infer(ROW)[0].data()[0], [[2.0, 4.0]])
    finally:
        one.stop()


def test_a_server_with_two_fronts_that_is_asked_to_stop_leaves_nothing(server, tmp_path):
    url = deployed(server, tmp_path).url()
    assert Caller(server, url).value() == 2.0
    tree = server.tree()

    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(timeout=20) == 0
    assert not any(map(works, tree))


@pytest.mark.parametrize(
    ("asked", "found"), [("0", "0 fronts"), ("99", "99 fronts"), ("two", "'two'")]
)
def test_an_impossible_number_of_fronts_is_refused(tmp_path, monkeypatch, asked, found):
    monkeypatch.setenv("GNOMON_FRONTS", asked)
    with pytest.raises(Invalid, match=found):
        serve(Home(tmp_path / "home"), ServeOptions())
