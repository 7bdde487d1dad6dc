"""Several hosts of one model: requests are shared out, and one that ends takes only its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.core import limits
from gnomon.core.frames import Frame
from gnomon.core.inference import Status
from gnomon.front.channel import SocketChannel
from gnomon.front.pool import Pool
from gnomon.testing import FakeChannel
from tests.contract.test_channel import Collector, run
from tests.front.conftest import Answered, FrontServer
from tests.front.models import challenger, champion, route
from tests.front.stub_host import StubHost, doubles
from tests.waiting import until

THREE = replace(champion(), replicas=3)
BODY = {"tensor": [[1, 2]]}


class Gate:
    """Holds what hosts are asked until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.open = self._open.set

    def answer(self, question: Frame) -> Frame:
        """Answer when it is open."""
        self._open.wait(10)
        return doubles(question)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def asking():
    """Asks in a thread."""
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


def start(server: FrontServer, answer: Callable[[Frame], Frame] = doubles) -> list[StubHost]:
    """Route to a champion with three hosts."""
    hosts = [server.host(model, answer) for model in THREE.each()]
    server.route(route(THREE))
    server.wait_connected(*THREE.hosts)
    return hosts


def pending(server: FrontServer) -> int:
    return server.front.stats()["models"]["7"]["ccfraud"]["pending"]


def ask_one_by_one(
    server: FrontServer, asking: Callable[..., Future[Answered]], count: int
) -> list[Future[Answered]]:
    """Ask so many, each after the one before has been given to a host."""
    asked = []
    for _ in range(count):
        asked.append(asking(server.infer, BODY))
        until(lambda: pending(server) == len(asked))
    return asked


def test_whoever_waits_least_gets_the_next_request(server, gate, asking):
    hosts = start(server, gate.answer)
    calls = ask_one_by_one(server, asking, 3)
    until(lambda: [len(host.questions) for host in hosts] == [1, 1, 1])
    gate.open()
    assert [call.result().status for call in calls] == [200] * 3
    counted = server.front.stats()["models"]["7"]["ccfraud"]
    assert (counted["sampled"], counted["ok"], counted["connected"]) == (3, 3, True)


def test_what_waits_for_a_host_that_ends_goes_to_the_others(server, gate, asking):
    # Given three hosts that are busy, with two requests waiting behind each
    hosts = start(server, gate.answer)
    calls = ask_one_by_one(server, asking, 9)
    until(lambda: all(host.questions for host in hosts))

    # When one of them is killed
    hosts[1].kill()
    until(lambda: pending(server) == 8)
    gate.open()

    # Then the one request that was there fails, and the two that waited are answered by others
    answers = [call.result() for call in calls]
    assert sorted(answer.status for answer in answers) == [200] * 8 + [503]
    [failed] = [answer for answer in answers if answer.status == 503]
    assert "its host ended" in failed.json["error"]
    good = [answer.json[0] for answer in answers if answer.status == 200]
    assert {str(each["outputs"][0]["Float"]["data"]) for each in good} == {"[2.0, 4.0]"}


def test_the_others_answer_while_one_is_away_and_it_is_used_again_when_it_is_back(server):
    hosts = start(server)
    hosts[0].kill()
    until(lambda: not server.connected(THREE.hosts[0]))
    assert [server.infer(BODY).status for _ in range(10)] == [200] * 10
    assert server.ask("GET", "/readyz").status == 200

    hosts[0].start()
    server.wait_connected(THREE.hosts[0])
    hosts[1].kill()
    hosts[2].kill()
    until(lambda: not any(map(server.connected, THREE.hosts[1:])))
    assert server.infer(BODY).status == 200
    assert hosts[0].questions


def test_with_all_of_them_away_callers_are_told_so(server):
    for host in start(server):
        host.kill()
    until(lambda: not any(map(server.connected, THREE.hosts)))
    answer = server.infer(BODY)
    assert (answer.status, answer.json["error_code"]) == (503, "host_unavailable")
    assert server.ask("GET", "/readyz").status == 503
    assert server.front.stats()["models"]["7"]["ccfraud"]["connected"] is False


def test_together_they_take_as_much_as_all_of_them(server, gate, asking, monkeypatch):
    monkeypatch.setattr(limits, "CHAMPION_QUEUE_REQUESTS_MAX", 2)
    start(server, gate.answer)
    calls = ask_one_by_one(server, asking, 6)
    refused = server.infer(BODY)
    assert (refused.status, refused.json["error_code"]) == (429, "overloaded")
    gate.open()
    assert [call.result().status for call in calls] == [200] * 6


def test_a_model_with_one_host_is_asked_without_a_pool(server):
    server.host(champion())
    server.route(route(champion()))
    [channel] = server.front._exchanges[7].service.channels
    assert isinstance(channel, SocketChannel)


def test_more_or_fewer_hosts_leave_the_connection_to_the_first_one_alone(server):
    hosts = start(server)
    server.route(route(champion()))
    until(lambda: [len(host.connections) for host in hosts] == [1, 1, 1])
    assert set(server.client.stats()["connected"]) == {THREE.host}
    assert server.front._channels[THREE.host].spare is None
    server.route(route(replace(champion(), replicas=2)))
    server.wait_connected(*THREE.hosts[:2])
    assert len(hosts[0].connections) == 1
    assert server.infer(BODY).status == 200


def test_challengers_see_what_any_of_the_hosts_answered(server):
    watching = challenger("rf")
    rival = server.host(watching)
    for model in THREE.each():
        server.host(model)
    server.route(route(THREE, watching))
    server.wait_connected(*THREE.hosts, watching.host)
    assert [server.infer(BODY).status for _ in range(6)] == [200] * 6
    until(lambda: len(server.log.observations()) == 6)
    assert len(rival.questions) == 6
    assert {entry.observation.status for entry in server.log.observations()} == {Status.OK}
    assert {entry.champion.model.label for entry in server.log.inferences()} == {"ccfraud"}


# Sharing out


def pool_of(rooms: list[int], *, gone: frozenset[int] = frozenset()) -> Pool:
    """Return a pool over hosts with so much room, that hold what they get."""
    channels = [
        FakeChannel(model, lambda x: (x,), holding=True, queue_max=room)
        for model, room in zip(replace(THREE, replicas=len(rooms)).each(), rooms, strict=True)
    ]
    for index in gone:
        channels[index].connected = False
    return Pool(THREE, channels)


def given_to(pool: Pool) -> list[int]:
    return [sum(map(len, channel._held)) for channel in pool.channels]


@pytest.mark.parametrize(
    ("rooms", "requests", "shares"),
    [
        ([100, 100, 100], 9, [3, 3, 3]),
        ([100, 100, 100], 1, [0, 0, 1]),
        ([100, 90, 80], 12, [11, 1, 0]),
        ([100, 50], 30, [30, 0]),
        ([10, 10], 20, [10, 10]),
        ([7], 3, [3]),
    ],
)
def test_a_group_is_shared_out_so_that_all_have_the_same_room_afterwards(rooms, requests, shares):
    pool = pool_of(rooms)
    pool.submit(run([1.0], 9e9, Collector(), 0, requests))
    assert given_to(pool) == shares


@given(
    rooms=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    requests=st.integers(1, 100),
    gone=st.frozensets(st.integers(0, 4)),
)
def test_however_it_is_shared_out_each_request_ends_once_and_with_its_own_rows(
    rooms, requests, gone
):
    gone = frozenset(index for index in gone if index < len(rooms))
    pool, collector = pool_of(rooms, gone=gone), Positions()
    group = run([1.0], 9e9, collector, 0, requests)
    group.tensors[0][:, 0] = np.arange(requests)
    room = pool.room
    pool.submit(group)

    there = [channel for index, channel in enumerate(pool.channels) if index not in gone]
    shares = given_to(pool)
    if requests <= room:
        assert sum(shares) == (requests if there else 0)
        fed = [channel.room for channel in there if channel._held]
        unfed = [channel.room for channel in there if not channel._held]
        assert not fed or max(fed) - min(fed) <= 1
        assert not fed or not unfed or max(unfed) <= max(fed) + 1
    for channel in pool.channels:
        channel.release()
    assert sorted(collector.ended_at) == list(range(requests))
    assert all(position == row for position, row in collector.rows)


class Positions(Collector):
    """Notes which requests ended, and the row that each got."""

    def __init__(self) -> None:
        super().__init__()
        self.ended_at: list[int] = []
        self.rows: list[tuple[int, float]] = []

    def ended(self, tag, positions, observation) -> None:
        super().ended(tag, positions, observation)
        self.ended_at += positions
        if observation.outputs is not None:
            self.rows += zip(positions, observation.outputs[0][:, 0].tolist(), strict=True)


def test_a_host_that_is_not_there_gets_nothing():
    pool = pool_of([100, 100, 100], gone=frozenset({1}))
    pool.submit(run([1.0], 9e9, Collector(), 0, 4))
    assert given_to(pool) == [2, 0, 2]
    assert (pool.connected, pool.room, pool.trusted) == (True, 196, True)
