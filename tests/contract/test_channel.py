"""What every `Channel` does, whatever it leads to."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import uvloop

from gnomon.core import limits
from gnomon.core.errors import ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.front.batches import Run
from gnomon.front.channel import SocketChannel
from gnomon.front.pool import Pool
from gnomon.front.service import Channel
from gnomon.testing import FakeChannel
from tests.front.models import challenger
from tests.front.stub_host import Frame, StubHost, doubles, fails

MODEL = challenger("rf")


class Collector:
    """Notes how runs ended, in the order they did."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Observation]] = []

    def ended(self, tag: int, positions: range, observation: Observation) -> None:
        self.seen += [(tag, observation)] * len(positions)

    def request_ids(self, positions: range) -> list[str]:
        return [str(position) for position in positions]


def run(values: Sequence[float], deadline: float, receiver: Collector, tag: int, requests: int):
    tensors = (np.array([values] * requests, "float32"),)
    rows = [1] * requests
    return Run(tensors, range(requests), rows, deadline=deadline, receiver=receiver, tag=tag)


class Rig(ABC):
    """A channel with a model that doubles, and what can happen to it."""

    channel: Channel
    collector: Collector

    @abstractmethod
    def submit(
        self, *values: float, timeout_s: float = 5.0, tag: int = 0, requests: int = 1
    ) -> None: ...
    @abstractmethod
    def settle(self, count: int) -> list[tuple[int, Observation]]: ...
    @abstractmethod
    def break_model(self) -> None: ...
    @abstractmethod
    def hold(self) -> None: ...
    @abstractmethod
    def release(self) -> None: ...
    @abstractmethod
    def lose_host(self) -> None: ...
    @abstractmethod
    def sweep_after(self, seconds: float) -> None: ...
    @abstractmethod
    def close(self) -> None: ...


class FakeRig(Rig):
    def __init__(self, _: Path) -> None:
        self.collector = Collector()
        self.channel = self._fake = FakeChannel(
            MODEL, lambda x: (x * 2,), queue_max=limits.CHALLENGER_QUEUE_REQUESTS_MAX
        )

    def submit(self, *values, timeout_s=5.0, tag=0, requests=1):
        self.channel.submit(run(values, timeout_s, self.collector, tag, requests))

    def settle(self, count):
        assert len(self.collector.seen) == count
        return self.collector.seen

    def break_model(self):
        def run(_):
            raise ModelFailed("rf@1: division by zero")

        self._fake.run = run

    def hold(self):
        self._fake.holding = True

    def release(self):
        self._fake.release()

    def lose_host(self):
        self._fake.lose_host()

    def sweep_after(self, seconds):
        self._fake.sweep(seconds)

    def close(self):
        pass


class SocketRig(Rig):
    def __init__(self, directory: Path) -> None:
        self.collector = Collector()
        self._gate = threading.Event()
        self._gate.set()
        self._answer = doubles
        self._host = StubHost(directory / "host.sock", MODEL.uuid, self._respond).start()
        self._loop = uvloop.new_event_loop()
        self.channel = self._socket_channel = self._within(self._open(directory / "host.sock"))
        self._until(lambda: self.channel.connected)

    async def _open(self, path: Path) -> SocketChannel:
        return SocketChannel(MODEL, path)

    def _respond(self, question: Frame) -> Frame | None:
        self._gate.wait(10)
        return self._answer(question)

    def _within(self, work):
        return self._loop.run_until_complete(work)

    def _until(self, happened) -> None:
        async def wait() -> None:
            done = self._loop.create_future()

            def look() -> None:
                if happened():
                    done.set_result(None)
                else:
                    self._loop.call_later(0.002, look)

            look()
            await done

        self._within(asyncio.wait_for(wait(), 10))

    def submit(self, *values, timeout_s=5.0, tag=0, requests=1):
        async def go() -> None:
            deadline = self._loop.time() + timeout_s
            self.channel.submit(run(values, deadline, self.collector, tag, requests))

        self._within(go())

    def settle(self, count):
        self._until(lambda: len(self.collector.seen) >= count)
        assert len(self.collector.seen) == count
        return self.collector.seen

    def break_model(self):
        self._answer = fails

    def hold(self):
        self._gate.clear()

    def release(self):
        self._gate.set()

    def lose_host(self):
        self._host.kill()
        self._until(lambda: not self.channel.connected)

    def sweep_after(self, seconds):
        async def go() -> None:
            self._socket_channel.sweep(self._loop.time() + seconds)

        self._within(go())

    def close(self):
        async def go() -> None:
            self._socket_channel.close()

        self._gate.set()
        self._within(go())
        self._host.kill()
        self._loop.close()


class PoolRig(SocketRig):
    """Two hosts, of which one is not there."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._absent = self._within(self._open(directory / "absent.sock"))
        self.channel = Pool(MODEL, [self._absent, self._socket_channel])

    def close(self):
        async def go() -> None:
            self._absent.close()

        self._within(go())
        super().close()


@pytest.fixture(params=[FakeRig, SocketRig, PoolRig], ids=["fake", "socket", "pool"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    rig = request.param(tmp_path)
    yield rig
    rig.close()


def test_a_run_gives_the_models_outputs(rig: Rig):
    rig.submit(1, 2, tag=3)
    [(tag, observation)] = rig.settle(1)
    assert tag == 3
    assert observation.status is Status.OK
    assert observation.model is MODEL
    assert observation.outputs[0].tolist() == [[2.0, 4.0]]
    assert observation.elapsed_ns > 0
    assert observation.time_us > 0


def test_requests_that_come_together_end_together(rig: Rig):
    rig.submit(1, 2, tag=3, requests=3)
    seen = rig.settle(3)
    assert {tag for tag, _ in seen} == {3}
    assert seen[0][1].outputs[0].tolist() == [[2.0, 4.0]] * 3


def test_runs_end_in_the_order_they_were_submitted(rig: Rig):
    for number in range(200):
        rig.submit(number, tag=number)
    seen = rig.settle(200)
    assert [tag for tag, _ in seen] == list(range(200))
    assert [o.outputs[0].item() for _, o in seen] == [2.0 * number for number in range(200)]


def test_a_model_that_fails_gives_an_error_and_the_next_run_works(rig: Rig):
    rig.break_model()
    rig.submit(1)
    [(_, observation)] = rig.settle(1)
    assert (observation.status, observation.code) == (Status.ERROR, "model_failed")
    assert observation.error == "rf@1: division by zero"
    assert rig.channel.connected


def test_a_full_queue_drops_at_once(rig: Rig):
    rig.hold()
    for number in range(limits.CHALLENGER_QUEUE_REQUESTS_MAX):
        rig.submit(number)
    assert rig.collector.seen == []
    rig.submit(1, tag=9)
    [(tag, observation)] = rig.collector.seen
    assert tag == 9
    assert (observation.status, observation.code) == (Status.DROPPED, "overloaded")
    assert "queue is full" in observation.error
    rig.release()
    rig.settle(limits.CHALLENGER_QUEUE_REQUESTS_MAX + 1)


def test_a_run_is_given_up_at_its_deadline_and_told_once(rig: Rig):
    rig.hold()
    rig.submit(1, timeout_s=1.0, tag=1)
    rig.submit(2, timeout_s=5.0, tag=2)
    rig.sweep_after(0.5)
    assert rig.collector.seen == []
    rig.sweep_after(1.5)
    [(tag, observation)] = rig.collector.seen
    assert tag == 1
    assert (observation.status, observation.code) == (Status.TIMEOUT, "inference_timeout")
    rig.release()
    seen = rig.settle(2)
    assert (seen[1][0], seen[1][1].status) == (2, Status.OK)


def test_losing_the_host_ends_what_is_under_way_with_an_error(rig: Rig):
    rig.hold()
    for tag in range(100):  # more than a socket channel has on the wire
        rig.submit(1, tag=tag)
    rig.lose_host()
    seen = rig.settle(100)
    assert sorted(tag for tag, _ in seen) == list(range(100))
    assert {(o.status, o.code) for _, o in seen} == {(Status.ERROR, "host_unavailable")}
    assert "its host ended" in seen[0][1].error


def test_without_a_host_a_run_fails_at_once(rig: Rig):
    rig.lose_host()
    assert not rig.channel.connected
    rig.submit(1)
    [(_, observation)] = rig.collector.seen
    assert (observation.status, observation.code) == (Status.ERROR, "host_unavailable")
    assert observation.error == "rf@1: its host is not running; try again shortly."
