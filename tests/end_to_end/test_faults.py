"""Hosts that crash, hang, stop or eat memory: what callers are told, and what nobody else notices.

Champions here break on one input only, so that their file passes the look at an upload.
"""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from gnomon import samples
from tests import hostile_models
from tests.end_to_end.callers import Callers, first_output
from tests.end_to_end.truth import told_by_onnxruntime
from tests.waiting import until

LOWEST = -(2**63)
FINE = {"x": [[8, 8]], "d": [[2, 4]]}
CRASHES = {"x": [[LOWEST, 1]], "d": [[-1, 1]]}
HANGS = {"x": [[1000.0, 0.0]]}
ENDS = {"x": [[1.0, 2.0]]}


@pytest.fixture(scope="module")
def rows():
    return samples.held_out()[0][:8]


@pytest.fixture(scope="module")
def bystander(shared_server, rows):
    """Another pipeline: its callers, and what ONNX Runtime says to its rows."""
    client = shared_server.client()
    model = client.upload_model("bystander", samples.champion_path())
    url = client.build_pipeline("bystander").add_model_step(model).deploy().url()
    truth = told_by_onnxruntime(samples.champion_path(), rows)

    def callers() -> Callers:
        return Callers(
            url,
            shared_server.token,
            [{"tensor": [row.astype(float).tolist()]} for row in rows],
            lambda index, answer: first_output(answer).tobytes() == truth[index].tobytes(),
            threads=2,
        )

    return callers


@pytest.fixture
def deploy(shared_server, tmp_path, request):
    """Deploy a model of the test's own as a champion; the label is the model's name."""
    client = shared_server.client()
    deployed = []

    def deploy(name: str, content: bytes):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        model = client.upload_model(name, path)
        pipeline = client.build_pipeline(name).add_model_step(model).deploy()
        deployed.append(pipeline)
        return pipeline

    yield deploy
    for pipeline in deployed:
        pipeline.undeploy()


def model_of(pipeline) -> dict:
    [engine] = pipeline.status()["engines"]
    [model] = engine["model_statuses"]["models"]
    return model


def is_up(server, url: str, body: dict) -> bool:
    return server.post(url, body).status == 200


def test_a_champion_that_crashes_again_and_again_is_left_alone_for_a_while(
    shared_server, bystander, deploy
):
    url = (pipeline := deploy("crashing", hostile_models.crashes_on_input())).url()
    control = shared_server.pids()["control"]
    assert shared_server.post(url, FINE).json()[0]["outputs"][0]["Int64"]["data"] == [4, 2]

    with bystander() as heard:
        # Each crash is told at once, and up to five in a minute cost no more than a new process
        for crash in range(1, 7):
            sent = time.monotonic()
            answer = shared_server.post(url, CRASHES, X_Gnomon_Request_Id=f"deadly-{crash}")
            assert (answer.status, answer.json()["error_code"]) == (503, "host_unavailable")
            assert answer.headers["Retry-After"] == "1"
            assert time.monotonic() - sent < 0.5
            if crash < 6:
                until(lambda: is_up(shared_server, url, FINE), within_s=5.0)

        # After the sixth it is said to be crash looping, and who asks is told at once
        until(lambda: "crashed with SIGFPE" in str(model_of(pipeline)["reason"]))
        assert model_of(pipeline)["state"] == "crash_looping"
        sent = time.monotonic()
        answer = shared_server.post(url, FINE)
        assert (answer.status, answer.json()["error_code"]) == (503, "host_unavailable")
        assert time.monotonic() - sent < 0.1 * 5  # a deadline of five times the figure
        # and it is tried again after a pause
        until(lambda: is_up(shared_server, url, FINE), within_s=5.0)
        assert model_of(pipeline)["restarts"] == 6

    # The server's log says with which requests the host died
    said = "".join(path.read_text() for path in shared_server.home.glob("logs/*"))
    said += (shared_server.home / "output.log").read_text()
    assert all(f"with requests deadly-{crash}\n" in said for crash in range(1, 7))
    # All the while the other pipeline's answers were what they are, and the server is the same
    assert heard.failures == {}
    assert heard.wrong == []
    assert shared_server.pids()["control"] == control


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_however_a_host_dies_its_caller_is_told_and_it_is_back(
    shared_server, bystander, deploy, number
):
    pipeline = deploy("dying", hostile_models.endless_loop(on_input=True))
    pid = shared_server.pids()["dying"]
    answers = []

    def ask() -> None:
        answer = shared_server.post(pipeline.url(), HANGS)
        answers.append((answer.status, answer.json()["error_code"]))

    caller = threading.Thread(target=ask)
    caller.start()
    until(lambda: psutil.Process(pid).cpu_times().user > 0.1)

    with bystander() as heard:
        os.kill(pid, number)
        caller.join(timeout=5)
        assert answers == [(503, "host_unavailable")]
        until(lambda: is_up(shared_server, pipeline.url(), ENDS), within_s=3.0)

    assert shared_server.pids()["dying"] not in (None, pid)
    assert signal.Signals(number).name in (shared_server.home / "output.log").read_text()
    assert heard.failures == {}
    assert heard.wrong == []


def test_a_host_that_simply_ends_is_started_again(shared_server, deploy):
    # Given a host that was told to end, and does so when its front is gone
    pipeline = deploy("leaving", hostile_models.doubling())
    before = shared_server.pids()
    os.kill(before["leaving"], signal.SIGTERM)
    assert is_up(shared_server, pipeline.url(), ENDS)

    os.kill(before["front"], signal.SIGKILL)

    until(lambda: shared_server.pids()["leaving"] not in (None, before["leaving"]), within_s=5.0)

    def answers() -> bool:
        try:
            return is_up(shared_server, pipeline.url(), ENDS)
        except Exception:
            return False

    until(answers, within_s=5.0)
    assert "ended with exit code 0" in (shared_server.home / "output.log").read_text()


def test_a_run_that_never_ends_is_stopped_at_its_deadline(shared_server, bystander, deploy):
    pipeline = deploy("endless", hostile_models.endless_loop(on_input=True))
    pid = shared_server.pids()["endless"]

    with bystander() as heard:
        sent = time.monotonic()
        answer = shared_server.post(pipeline.url(), HANGS, X_Gnomon_Timeout_Ms="400")
        took_s = time.monotonic() - sent
        assert (answer.status, answer.json()["error_code"]) == (504, "inference_timeout")
        assert 0.4 <= took_s < 0.9
        until(lambda: is_up(shared_server, pipeline.url(), ENDS), within_s=2.0)

    assert shared_server.pids()["endless"] == pid  # it was asked to stop, and did
    assert heard.failures == {}
    assert heard.wrong == []


def test_time_spent_waiting_counts_and_what_is_too_late_is_not_started(shared_server, deploy):
    # Given a model that takes one row at a time, and a run that takes until its deadline
    pipeline = deploy("waiting", hostile_models.endless_loop(on_input=True, rows=1))
    url, answers = pipeline.url(), {}

    def ask(name: str, body: dict, timeout_ms: int) -> threading.Thread:
        def work() -> None:
            answer = shared_server.post(url, body, X_Gnomon_Timeout_Ms=str(timeout_ms))
            answers[name] = answer.status, time.monotonic() - start

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    # When others wait behind it: one for a moment only, one that hangs too, one that has time
    start = time.monotonic()
    threads = []
    waiting = [("first", HANGS, 600), ("short", ENDS, 300), ("hangs", HANGS, 1_200)]
    for count, each in enumerate([*waiting, ("last", ENDS, 10_000)], start=1):
        threads.append(ask(*each))
        until(lambda count=count: shared_server.waiting("waiting") == count)
    for thread in threads:
        thread.join(timeout=15)

    # Then each ended at its own deadline, counted from its arrival, and the last one soon after
    assert {name: status for name, (status, _) in answers.items()} == {
        "first": 504, "short": 504, "hangs": 504, "last": 200,
    }  # fmt: skip
    assert 0.3 <= answers["short"][1] < 0.6
    assert 1.2 <= answers["hangs"][1] < 1.6
    assert answers["last"][1] < 0.6 + 1.2


def test_a_run_that_cannot_be_stopped_costs_its_host_a_second_later(
    shared_server, bystander, deploy
):
    pipeline = deploy("stubborn", hostile_models.one_long_node())
    pid = shared_server.pids()["stubborn"]
    assert is_up(shared_server, pipeline.url(), ENDS)

    with bystander() as heard:
        sent = time.monotonic()
        answer = shared_server.post(
            pipeline.url(), {"x": [[5000.0, 0.0]]}, X_Gnomon_Timeout_Ms="300"
        )
        assert (answer.status, answer.json()["error_code"]) == (504, "inference_timeout")
        assert time.monotonic() - sent < 0.8
        until(lambda: is_up(shared_server, pipeline.url(), ENDS), within_s=5.0)
        back_s = time.monotonic() - sent

    assert 1.3 <= back_s < 4.0
    assert shared_server.pids()["stubborn"] != pid
    assert model_of(pipeline)["restarts"] == 1
    assert "did not stop at its deadline" in (shared_server.home / "output.log").read_text()
    assert heard.failures == {}
    assert heard.wrong == []


def test_a_run_that_wants_more_memory_than_there_is_fails_by_itself(
    shared_server, bystander, deploy
):
    pipeline = deploy("greedy", hostile_models.memory_bomb_on_input())
    pid = shared_server.pids()["greedy"]
    free = psutil.virtual_memory().available

    with bystander() as heard:
        answer = shared_server.post(pipeline.url(), {"x": [[4e9, 0.0]]})
        assert (answer.status, answer.json()["error_code"]) == (422, "limit_reached")
        assert "memory" in answer.json()["error"]
        assert is_up(shared_server, pipeline.url(), ENDS)

    assert shared_server.pids()["greedy"] == pid
    assert psutil.virtual_memory().available > 0.8 * free
    assert heard.failures == {}
    assert heard.wrong == []


def test_a_model_that_needs_more_with_each_request_is_never_out_of_memory(shared_server, deploy):
    # Given requests of growing sizes, that all together would not fit into the host
    pipeline = deploy("growing", hostile_models.memory_bomb_on_input())
    host = psutil.Process(shared_server.pids()["growing"])
    before = host.memory_info().rss

    for megabytes in (50, 100, 200, 300, 400, 500, 600, 900, 1_200):
        body = {"x": [[megabytes * 250_000.0, 0.0]]}
        assert is_up(shared_server, pipeline.url(), body), f"{megabytes} MB"

    # Then most of what they needed is given back, and the host is the same
    until(lambda: host.memory_info().rss < before + 1_000_000_000)
    assert shared_server.pids()["growing"] == host.pid


def test_no_host_has_secrets_or_ports(shared_server, deploy):
    deploy("bare", hostile_models.doubling())
    pid = shared_server.pids()["bare"]

    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert shared_server.token.encode() not in environment
    assert psutil.Process(pid).net_connections("inet") == []
