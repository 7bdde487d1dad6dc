"""A server that is asked to stop while it is busy: who was heard is answered."""

import contextlib
import signal
import socket
import threading
import time

import psutil
import pytest
import urllib3

from tests import hostile_models
from tests.end_to_end.callers import Callers, first_output
from tests.processes import works
from tests.waiting import until

BODIES = [{"x": [[float(number), 1.0]]} for number in range(10)]
HANGS = {"x": [[1000.0, 0.0]]}


@pytest.fixture
def pipeline(server, tmp_path):
    path = tmp_path / "endless.onnx"
    path.write_bytes(hostile_models.endless_loop(on_input=True))
    client = server.client()
    model = client.upload_model("endless", path)
    return client.build_pipeline("busy").add_model_step(model).deploy()


def is_the_input(index, answer) -> bool:
    return first_output(answer).tolist() == BODIES[index]["x"]


def ask_in_background(server, url: str, body: dict, timeout_ms: int):
    """Send a request from a thread; return the thread and where its answer will be."""
    answers = []

    def ask() -> None:
        try:
            answer = server.post(url, body, X_Gnomon_Timeout_Ms=str(timeout_ms))
        except urllib3.exceptions.HTTPError as error:
            answers.append((None, str(error)))
        else:
            answers.append((answer.status, answer.json()))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def test_no_request_fails_at_a_stop_for_a_client_that_tries_once_more(server, pipeline):
    tree = server.tree()
    callers = Callers(pipeline.url(), server.token, BODIES, is_the_input, threads=8, retries=True)

    with callers as heard:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not callers.calling, within_s=10.0)

    # Each caller was answered until nobody was there any more
    assert heard.failures == {}
    assert heard.wrong == []
    assert heard.refused == 8
    assert server.process.wait(timeout=10) == 0
    assert not any(map(works, tree))


def test_what_waits_for_a_slow_run_is_answered_and_nobody_else_is_kept_waiting(server, pipeline):
    # Given a run that takes another second, and a request in the queue behind it
    url = pipeline.url()
    pid = server.pids()["endless"]
    running, ran = ask_in_background(server, url, HANGS, timeout_ms=1_200)
    until(lambda: psutil.Process(pid).cpu_times().user > 0.2)
    queued, answered = ask_in_background(server, url, BODIES[3], timeout_ms=10_000)
    until(lambda: server.waiting("endless") == 2)

    # When the server is asked to stop
    server.process.send_signal(signal.SIGTERM)
    asked = time.monotonic()

    # Then both are answered
    running.join(timeout=10)
    queued.join(timeout=10)
    assert [status for status, _ in ran] == [504]
    assert [status for status, _ in answered] == [200]
    assert first_output(answered[0][1]).tolist() == BODIES[3]["x"]
    assert server.process.wait(timeout=10) == 0
    assert time.monotonic() - asked < 6.0


def test_who_comes_after_the_stop_is_told_and_then_turned_away_at_once(server, pipeline):
    # Given a server that is asked to stop, and has a run to wait for
    url, ready = pipeline.url(), server.facts["front_url"] + "/readyz"
    pid = server.pids()["endless"]
    assert urllib3.request("GET", ready, retries=False).status == 200
    running, _ = ask_in_background(server, url, HANGS, timeout_ms=3_000)
    until(lambda: psutil.Process(pid).cpu_times().user > 0.2)
    server.process.send_signal(signal.SIGTERM)

    # Then for a moment it says that it is not ready, and after that a connection is refused: none
    # is left hanging
    said = []

    def is_refused() -> bool:
        if _is_refused(server.facts["front_url"]):
            return True
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            answer = urllib3.request("GET", ready, retries=False, timeout=1.0)
            said.append((answer.status, answer.json().get("reason")))
        return False

    until(is_refused, within_s=2.5)
    assert (503, "stopping") in said
    assert running.is_alive()
    running.join(timeout=10)
    assert server.process.wait(timeout=10) == 0


def _is_refused(url: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_a_second_signal_ends_everything_within_two_seconds(server, pipeline):
    tree = server.tree()
    pid = server.pids()["endless"]
    running, answers = ask_in_background(server, pipeline.url(), HANGS, timeout_ms=30_000)
    until(lambda: psutil.Process(pid).cpu_times().user > 0.2)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: "server.stopping" in (server.home / "output.log").read_text())
    assert server.process.poll() is None

    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(timeout=2.0) == 1
    _, alive = psutil.wait_procs(tree, timeout=5.0)
    assert not any(map(works, alive))
    running.join(timeout=5)
    [(status, _)] = answers
    assert status in (None, 503)
    # and the next start serves again, as if nothing had been
    server.start()
    pipeline = server.client().get_pipeline("busy")
    until(lambda: pipeline.status()["status"] == "Running")
    assert server.post(pipeline.url(), BODIES[1]).status == 200
