"""Requests run as one: each caller gets exactly its own rows, whatever goes together."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gnomon.core import limits
from gnomon.core.frames import Frame, Kind
from gnomon.core.inference import Observation
from gnomon.front.batches import Batch, Run, gather, join, split
from gnomon.front.outcomes import not_run
from tests.front.conftest import FrontServer
from tests.front.models import challenger, champion, route
from tests.front.stub_host import doubles, fails
from tests.waiting import until


class Noted:
    """Notes what became of each request."""

    def __init__(self) -> None:
        self.seen: list[tuple[range, Observation]] = []

    def ended(self, tag, positions, observation):
        self.seen.append((positions, observation))

    def request_ids(self, positions):
        return [str(position) for position in positions]


def run(*arrays: np.ndarray, rows: list[int] | None = None) -> Run:
    rows = rows or [len(arrays[0])]
    return Run(arrays, range(len(rows)), rows, deadline=1.0, receiver=Noted(), tag=0)


ROWS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=8)
WIDTHS = st.lists(st.sampled_from([1, 2]), min_size=1, max_size=12)


def runs_of(sizes: list[list[int]]) -> list[Run]:
    """Return runs of several requests each, whose values are all different."""
    first, runs = 0, []
    for rows in sizes:
        values = np.arange(first, first + sum(rows) * 2, dtype=np.float32)
        runs.append(run(values.reshape(-1, 2), rows=rows))
        first += sum(rows) * 2
    return runs


def requests_of(runs: list[Run]) -> list[list[list[float]]]:
    """Return the rows of each request."""
    return [
        each.part(index, index + 1).tensors[0].tolist()
        for each in runs
        for index in range(len(each))
    ]


@given(ROWS, st.integers(1, 12))
def test_any_split_of_rows_into_requests_gives_each_its_own(sizes, rows_max):
    waiting = deque(runs_of(sizes))
    expected = requests_of(list(waiting))
    # When they are run in batches
    got = []
    while waiting:
        runs = gather(waiting, rows_max=rows_max, bytes_max=10_000)
        assert sum(map(len, runs)) == 1 or sum(each.height for each in runs) <= rows_max
        [inputs] = join(runs)
        for each, outputs in zip(runs, split((inputs + 1,), runs), strict=True):
            ends = np.cumsum(each.rows)[:-1]
            got += [part.tolist() for part in np.split(outputs[0] - 1, ends)]
    # Then each request has its own values, and none is lost
    assert got == expected


@given(ROWS)
def test_the_halves_of_a_batch_have_all_its_requests_in_their_order(sizes):
    batch = Batch(1, runs_of(sizes), 1.0)
    expected = requests_of(batch.runs)
    left, right = batch.halves()
    assert requests_of(left) + requests_of(right) == expected
    assert 0 <= sum(map(len, left)) - sum(map(len, right)) <= 1


@given(ROWS)
def test_single_requests_keep_their_places(sizes):
    batch = Batch(1, runs_of(sizes), 1.0)
    expected = requests_of(batch.runs)
    singles = batch.singles()
    assert requests_of(singles) == expected
    places = [position for each in sizes for position in range(len(each))]
    assert [single.positions[0] for single in singles] == places


def test_who_was_told_is_in_no_half():
    batch = Batch(1, runs_of([[1, 1], [1, 1]]), 1.0)
    batch.runs[0].end(not_run(challenger("rf"), "gone"))
    assert [sum(map(len, half)) for half in batch.halves()] == [1, 1]


@given(WIDTHS)
def test_only_inputs_of_one_shape_go_together(widths):
    waiting = deque(run(np.zeros((1, width), np.float32)) for width in widths)
    while waiting:
        runs = gather(waiting, rows_max=100, bytes_max=10_000)
        assert len({each.tensors[0].shape[1] for each in runs}) == 1


def test_a_batch_is_bounded_in_bytes_and_one_large_request_goes_alone():
    waiting = deque(run(np.zeros((1, 100), np.float32)) for _ in range(10))
    assert len(gather(waiting, rows_max=100, bytes_max=1_000)) == 2
    assert len(gather(waiting, rows_max=100, bytes_max=100)) == 1


def test_of_a_large_run_as_many_requests_go_as_fit():
    waiting = deque([run(np.zeros((10, 100), np.float32), rows=[1] * 10)])
    assert [len(each) for each in gather(waiting, rows_max=4, bytes_max=100_000)] == [4]
    assert [len(each) for each in gather(waiting, rows_max=100, bytes_max=800)] == [2]
    assert [len(each) for each in gather(waiting, rows_max=100, bytes_max=1)] == [1]
    assert [len(each) for each in waiting] == [3]


def test_several_inputs_and_outputs_stay_together():
    runs = [run(np.full((n, 2), n), np.full((n,), 10 * n)) for n in (1, 2)]
    left, right = join(runs)
    assert (left.shape, right.tolist()) == ((3, 2), [10, 20, 20])
    parts = split((left, right), runs)
    assert [(a[0, 0], b[0]) for a, b in parts] == [(1, 10), (2, 20)]


def test_texts_are_joined_too():
    runs = [run(np.array([text], dtype=object)) for text in ("a", "é")]
    assert join(runs)[0].tolist() == ["a", "é"]


def test_outputs_without_a_row_for_each_are_not_split():
    runs = [run(np.zeros((1, 2))), run(np.zeros((1, 2)))]
    assert split((np.zeros((2, 1)),), runs) is not None
    assert split((np.zeros((1, 2)),), runs) is None
    assert split((np.array(1.0),), runs) is None
    together = [run(np.zeros((2, 2)), rows=[1, 1])]
    assert split((np.zeros((1, 2)),), together) is None
    assert split((np.zeros((1, 2)),), [run(np.zeros((2, 2)))]) is not None  # one request's own


def body(number: float) -> dict[str, object]:
    return {"tensor": [[number, 0]]}


def held(server: FrontServer, answer, served=None):
    """A host whose first answer waits for a gate, so that what comes meanwhile queues."""
    gate = threading.Event()

    def gated(question: Frame):
        gate.wait(10)
        return answer(question)

    host = server.host(served or champion(), gated)
    return host, gate


def ask_together(server: FrontServer, host, gate, numbers):
    """Have one request at the host and the others waiting; then let the host go on."""
    with ThreadPoolExecutor(len(numbers) + 1) as pool:
        first = pool.submit(server.infer, body(0))
        until(lambda: host.questions)
        calls = [pool.submit(server.infer, body(number)) for number in numbers]
        tallies = server.front.stats
        until(
            lambda: (
                sum(
                    tally["pending"]
                    for models in tallies()["models"].values()
                    for tally in models.values()
                )
                == len(numbers) + 1
            )
        )
        gate.set()
        assert first.result().status == 200
        return [call.result() for call in calls]


def test_all_that_waits_when_a_host_is_idle_is_one_run(server: FrontServer):
    host, gate = held(server, doubles)
    server.route(route(champion()))
    server.wait_connected(champion().host)

    answers = ask_together(server, host, gate, range(1, 9))

    assert [a.json[0]["outputs"][0]["Float"]["data"] for a in answers] == [
        [2.0 * number, 0.0] for number in range(1, 9)
    ]
    assert len(host.questions) == 2
    assert host.questions[1].tensors[0].shape == (8, 2)


def test_one_bad_row_fails_only_its_own_request(server: FrontServer):
    def answer(question: Frame) -> Frame:
        if (question.tensors[0] == 5).any():
            return Frame(Kind.FAILED, question.request, 1, text="model_failed: five")
        return doubles(question)

    host, gate = held(server, answer)
    server.route(route(champion()))
    server.wait_connected(champion().host)

    answers = ask_together(server, host, gate, range(1, 9))

    assert [answer.status for answer in answers] == [200] * 4 + [422] + [200] * 3
    assert "five" in answers[4].json["error"]


def test_a_batch_that_ran_out_of_memory_is_not_run_again(server: FrontServer):
    def answer(question: Frame) -> Frame:
        if len(question.tensors[0]) > 1:
            return Frame(Kind.FAILED, question.request, 1, text="limit_reached: too much")
        return doubles(question)

    host, gate = held(server, answer)
    server.route(route(champion()))
    server.wait_connected(champion().host)

    answers = ask_together(server, host, gate, range(1, 4))

    assert {answer.status for answer in answers} == {422}
    assert len(host.questions) == 2


def test_a_model_whose_outputs_are_no_rows_runs_request_by_request(server: FrontServer):
    def answer(question: Frame) -> Frame:
        total = question.tensors[0].sum(axis=0, keepdims=True)
        return Frame(Kind.RESULT, question.request, 1, (total,))

    host, gate = held(server, answer)
    server.route(route(champion()))
    server.wait_connected(champion().host)

    answers = ask_together(server, host, gate, range(1, 4))

    assert [a.json[0]["outputs"][0]["Float"]["data"][0] for a in answers] == [1.0, 2.0, 3.0]
    assert [len(question.tensors[0]) for question in host.questions] == [1, 3, 1, 1, 1]


def test_a_model_that_mixes_rows_runs_request_by_request(server: FrontServer):
    mixing = champion()
    mixing = replace(mixing, signature=replace(mixing.signature, row_wise=False))
    host, gate = held(server, doubles, mixing)
    server.route(route(mixing))
    server.wait_connected(mixing.host)

    ask_together(server, host, gate, range(1, 5))

    assert [len(question.tensors[0]) for question in host.questions] == [1] * 5


def test_a_challenger_batches_by_itself(server: FrontServer):
    fast = server.host(champion(), doubles)
    slow, gate = held(server, doubles, challenger("rf"))
    server.route(route(champion(), challenger("rf")))
    server.wait_connected(champion().host)
    server.wait_connected(challenger("rf").host)

    for number in range(6):
        assert server.infer(body(number)).status == 200
    gate.set()

    until(
        lambda: (
            server.front.stats()["models"][str(route(champion()).deployment_id)]["rf"]["ok"] == 6
        )
    )
    assert len(fast.questions) == 6
    assert [len(question.tensors[0]) for question in slow.questions] == [1, 5]


def test_a_batch_is_bounded_in_rows(server: FrontServer, monkeypatch):
    monkeypatch.setattr(limits, "BATCH_ROWS_MAX", 3)
    host, gate = held(server, doubles)
    server.route(route(champion()))
    server.wait_connected(champion().host)

    ask_together(server, host, gate, range(1, 9))

    assert [len(question.tensors[0]) for question in host.questions] == [1, 3, 3, 2]


def test_batches_of_a_model_that_fails_on_every_row_become_single_runs(server, monkeypatch):
    monkeypatch.setattr(limits, "BATCH_ROWS_MAX", 8)
    host, gate = held(server, fails, challenger("rf"))
    server.host(champion(), doubles)
    server.route(route(champion(), challenger("rf")))
    server.wait_connected(champion().host)
    server.wait_connected(challenger("rf").host)

    for number in range(40):
        assert server.infer(body(number)).status == 200
    gate.set()

    tally = server.front.stats
    until(lambda: tally()["models"][str(route(champion()).deployment_id)]["rf"]["error"] == 40)
    sizes = [len(question.tensors[0]) for question in host.questions]
    assert max(sizes) == 8
    assert sizes[-20:] == [1] * 20
