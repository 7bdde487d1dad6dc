"""A channel to a host that dies, hangs or lies: the front goes on."""

from __future__ import annotations

import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gnomon.core import limits
from gnomon.core.frames import HEADER, MAGIC, Frame, Kind, encode
from tests.front.conftest import FrontServer
from tests.front.models import challenger, champion, route, spec
from tests.front.stub_host import StubHost, doubles, fails, hangs
from tests.waiting import until

BODY = {"tensor": [[1, 2]]}


def result(request: int, *arrays: np.ndarray, elapsed_ns: int = 1) -> Frame:
    return Frame(Kind.RESULT, request, elapsed_ns, arrays)


def ones(dtype: str = "float32") -> np.ndarray:
    return np.ones((1, 2), dtype)


def header(kind: int, size: int, request: int = 1, tensors: int = 1) -> bytes:
    return HEADER.pack(MAGIC, kind, tensors, 0, size, request, 1)


LIES = {
    "a request that was never made": lambda q: result(q.request + 7, ones()),
    "too few outputs": lambda q: result(q.request),
    "too many outputs": lambda q: result(q.request, ones(), ones()),
    "another type": lambda q: result(q.request, ones("float64")),
    "texts": lambda q: result(q.request, np.array([["a", "b"]], dtype=object)),
    "an impossible time": lambda q: result(q.request, ones(), elapsed_ns=2**63),
    "a second hello": lambda q: Frame(Kind.HELLO, text="uuid-of-ccfraud-1"),
    "a question": lambda q: Frame(Kind.RUN, q.request, 1, (ones(),)),
    "an unknown kind": lambda q: header(9, 0, q.request),
    "no frame": lambda q: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a frame over the limit": lambda q: header(Kind.RESULT, limits.FRAME_BYTES_MAX + 1),
    "a text over the limit": lambda q: header(Kind.FAILED, limits.HOST_TEXT_BYTES_MAX + 1),
    "a text that is no UTF-8": lambda q: header(Kind.FAILED, 1, q.request) + b"\xff",
    "an output larger than its frame": lambda q: (
        header(Kind.RESULT, 16, q.request)
        + struct.pack("<BBHI", 0, 1, 0, 2**31)
        + struct.pack("<Q", 2**29)
    ),
    "a shape that is not its data": lambda q: (
        header(Kind.RESULT, 20, q.request)
        + struct.pack("<BBHI", 0, 1, 0, 4)
        + struct.pack("<Q", 2**40)
        + b"1234"
    ),
    "the same answer twice": lambda q: encode(doubles(q)) * 2,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_host_that_lies_is_dropped_and_the_front_goes_on(server: FrontServer, lie: str):
    # Given a champion whose host lies, and a challenger that does not
    watching = challenger("rf")
    host = server.host(champion(), LIES[lie])
    server.host(watching)
    server.route(route(champion(), watching))
    server.wait_connected(champion().host, watching.host)
    # When it is asked
    answer = server.infer(BODY)
    # Then its caller is told that there is no host, not what it said
    if lie == "the same answer twice":
        assert answer.status == 200
    else:
        assert (answer.status, answer.json["error_code"]) == (503, "host_unavailable")
    # And once it is honest it is believed again
    host.answer = doubles
    answer = until(lambda: _ok(server.infer(BODY)))
    assert answer.json[0]["outputs"][0]["Float"]["data"] == [2.0, 4.0]


def _ok(answer):
    return answer if answer.status == 200 else None


def test_what_a_host_says_unasked_drops_it(server: FrontServer):
    host = server.host(champion())
    server.route(route(champion()))
    server.wait_connected(champion().host)
    connection = host.connections[-1]
    host.send(result(1, ones()))
    until(lambda: len(host.connections) == 2 and host.connections[-1] is not connection)
    server.wait_connected(champion().host)
    assert server.infer(BODY).status == 200


def test_a_host_with_another_version_is_never_used(server: FrontServer):
    host = StubHost(server.directory / f"{champion().host}.sock", "another-version").start()
    server.hosts["impostor"] = host
    server.route(route(champion()))
    until(lambda: len(host.connections) >= 3)
    assert not server.connected(champion().host)
    assert server.infer(BODY).status == 503
    assert host.questions == []


def test_a_host_that_says_nothing_is_tried_again(server: FrontServer, monkeypatch):
    monkeypatch.setattr(limits, "HOST_HELLO_TIMEOUT_S", 0.1)
    host = StubHost(server.directory / f"{champion().host}.sock", None).start()
    server.hosts["silent"] = host
    server.route(route(champion()))
    until(lambda: len(host.connections) >= 2)
    assert not server.connected(champion().host)
    host.uuid = champion().uuid
    server.wait_connected(champion().host)
    assert server.infer(BODY).status == 200


def test_answers_may_come_in_pieces(server: FrontServer):
    # Given a host whose answers are cut where nothing ends
    def answer(question: Frame) -> bytes:
        data = encode(doubles(question))
        for start in range(0, len(data) - 50, 7):
            host.send(data[start : start + 7])
        return data[start + 7 :]

    host = server.host(champion(), answer)
    server.route(route(champion()))
    server.wait_connected(champion().host)
    # When three callers ask at once
    with ThreadPoolExecutor(3) as pool:
        bodies = [{"tensor": [[number, 0]]} for number in range(3)]
        answers = list(pool.map(server.infer, bodies))
    # Then each has its own answer
    for number, got in enumerate(answers):
        assert got.json[0]["outputs"][0]["Float"]["data"] == [2.0 * number, 0.0]


def test_the_callers_of_a_host_that_dies_are_told_at_once(server: FrontServer):
    # Given callers that wait for a host
    host = server.host(champion(), hangs)
    server.route(route(champion()))
    server.wait_connected(champion().host)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(server.infer, BODY) for _ in range(4)]
        until(lambda: server.front.stats()["models"]["7"]["ccfraud"]["pending"] == 4)
        until(lambda: host.questions)
        # When it is killed
        killed = time.monotonic()
        host.kill()
        answers = [call.result() for call in waiting]
        took_s = time.monotonic() - killed
    # Then all of them have a 503 within a tenth of a second
    assert took_s < 0.1
    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert "its host ended" in answers[0].json["error"]
    # And so has the next one, until the host is back
    assert "is not running" in server.infer(BODY).json["error"]
    host.answer = doubles
    host.start()
    back = time.monotonic()
    until(lambda: _ok(server.infer(BODY)))
    assert time.monotonic() - back < 2


def test_a_hang_ends_at_the_deadline_that_the_caller_set(server: FrontServer):
    host = server.host(champion(), hangs)
    server.route(route(champion()))
    server.wait_connected(champion().host)
    asked = time.monotonic()
    answer = server.infer(BODY, x_gnomon_timeout_ms="150")
    assert (answer.status, answer.json["error_code"]) == (504, "inference_timeout")
    assert 0.14 < time.monotonic() - asked < 1
    [question] = host.questions
    assert 0 < question.number / 1e9 - asked <= 0.25


def test_a_request_waiting_behind_others_is_not_sent_after_its_deadline(
    server: FrontServer,
):
    gate = threading.Event()

    def answer(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    host = server.host(champion(), answer)
    server.route(route(champion()))
    server.wait_connected(champion().host)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.infer, BODY)
        until(lambda: host.questions)
        assert server.infer(BODY, x_gnomon_timeout_ms="100").status == 504
        gate.set()
        assert first.result().status == 200
    assert server.infer(BODY).status == 200
    assert len(host.questions) == 2  # not 3


def test_a_full_queue_is_429_and_recovers(server: FrontServer, monkeypatch):
    monkeypatch.setattr(limits, "CHAMPION_QUEUE_REQUESTS_MAX", 2)
    gate = threading.Event()

    def answer(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    host = server.host(champion(), answer)
    server.route(route(champion()))
    server.wait_connected(champion().host)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(server.infer, BODY) for _ in range(2)]
        until(lambda: server.client.stats()["models"]["7"]["ccfraud"]["pending"] == 2)
        asked = time.monotonic()
        refused = server.infer(BODY)
        assert time.monotonic() - asked < 0.1
        assert (refused.status, refused.json["error_code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "1"
        gate.set()
        assert [call.result().status for call in waiting] == [200, 200]
    assert server.infer(BODY).status == 200
    assert host.questions


def test_a_queue_is_bounded_in_bytes_too(server: FrontServer, monkeypatch):
    monkeypatch.setattr(limits, "CHAMPION_QUEUE_BYTES_MAX", 100)
    gate = threading.Event()

    def answer(question: Frame) -> Frame:
        gate.wait(10)
        return doubles(question)

    host = server.host(champion(), answer)
    server.route(route(champion()))
    server.wait_connected(champion().host)
    with ThreadPoolExecutor(1) as pool:
        # One request over the bound is taken when nothing else is there
        large = pool.submit(server.infer, {"tensor": [[1, 2]] * 50})
        until(lambda: host.questions)
        assert server.infer(BODY).status == 429
        gate.set()
        assert large.result().status == 200


def test_tensors_that_fit_no_frame_are_413(server: FrontServer, monkeypatch):
    server.host(champion())
    server.route(route(champion()))
    server.wait_connected(champion().host)
    monkeypatch.setattr(limits, "FRAME_BYTES_MAX", 100_000)
    refused = server.infer({"tensor": [[1, 2]] * 20_000})
    assert (refused.status, refused.json["error_code"]) == (413, "body_too_large")
    assert server.infer(BODY).status == 200


@pytest.mark.parametrize(
    ("text", "status", "code", "says"),
    [
        ("model_failed: no", 422, "model_failed", "ccfraud@1: no"),
        ("inference_timeout: stopped", 504, "inference_timeout", "ccfraud@1: stopped"),
        ("internal: we are the server", 422, "model_failed", "ccfraud@1: we are the server"),
        ("unauthenticated: log in", 422, "model_failed", "ccfraud@1: log in"),
        ("nonsense", 422, "model_failed", "ccfraud@1: the model failed"),
        ("", 422, "model_failed", "ccfraud@1: the model failed"),
        ("model_failed: a\r\nb\x00c", 422, "model_failed", "ccfraud@1: a  b c"),
        ("model_failed: " + "x" * 9_000, 422, "model_failed", "ccfraud@1: " + "x" * 500),
    ],
)
def test_what_a_failed_host_says_is_shown_but_not_obeyed(
    server: FrontServer, text: str, status: int, code: str, says: str
):
    server.host(champion(), lambda q: Frame(Kind.FAILED, q.request, 1, text=text))
    server.route(route(champion()))
    server.wait_connected(champion().host)
    answer = server.infer(BODY)
    assert (answer.status, answer.json["error_code"]) == (status, code)
    assert answer.json["error"] == says
    assert server.infer(BODY).status == status  # on the same connection


def test_texts_go_to_the_host_and_back(server: FrontServer):
    texts = (spec("t", "string", (None,)),)
    model = champion(inputs=texts, outputs=texts)
    server.host(model, lambda q: result(q.request, q.tensors[0]))
    server.route(route(model))
    server.wait_connected(model.host)
    answer = server.infer({"t": ["é", "", "x\u0000y"]})
    assert answer.json[0]["outputs"][0]["String"]["data"] == ["é", "", "x\u0000y"]


def test_a_large_tensor_goes_to_the_host_and_back(server: FrontServer):
    server.host(champion())
    server.route(route(champion()))
    server.wait_connected(champion().host)
    rows = [[float(number), 0.5] for number in range(100_000)]
    answer = server.infer({"tensor": rows})
    [output] = answer.json[0]["outputs"]
    assert output["Float"]["dim"] == [100_000, 2]
    assert output["Float"]["data"][-2:] == [2 * 99_999.0, 1.0]


def test_a_host_that_fails_stays_connected(server: FrontServer):
    host = server.host(champion(), fails)
    server.route(route(champion()))
    server.wait_connected(champion().host)
    for _ in range(3):
        assert server.infer(BODY).status == 422
    assert len(host.connections) == 1
