"""Several fronts at one listening socket."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from gnomon.front.accepting import Acceptor, Share


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=256) as made:
        yield made


class Taken(asyncio.Protocol):
    """The connections that one front took."""

    def __init__(self) -> None:
        self.transports: list[asyncio.BaseTransport] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.append(transport)
        self.changed.set()


def acceptor(listener: socket.socket, taken: Taken, share: Share) -> Acceptor:
    # A descriptor of its own, as each front has
    own = socket.socket(fileno=os.dup(listener.fileno()))
    return Acceptor(own, lambda: taken, lambda: len(taken.transports), share)


def connect(listener: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(listener.getsockname()) for _ in range(count)]


async def settled(fronts: list[Taken], count: int) -> None:
    async with asyncio.timeout(10):
        while sum(len(front.transports) for front in fronts) < count:
            for front in fronts:
                front.changed.clear()
            waits = [asyncio.ensure_future(front.changed.wait()) for front in fronts]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()


def shares(tmp_path: Path, fronts: int = 2) -> list[Share]:
    return [Share(tmp_path / "shared", index=index, fronts=fronts) for index in range(fronts)]


@pytest.mark.parametrize(("own", "other", "ahead"), [(0, 0, False), (1, 0, True), (5, 5, False)])
def test_a_front_with_more_than_another_is_ahead(tmp_path, own, other, ahead):
    first, second = shares(tmp_path)
    first.tell(own)
    second.tell(other)
    assert first.is_ahead() is ahead


def test_among_many_a_few_more_do_not_count(tmp_path):
    first, second = shares(tmp_path)
    second.tell(80)
    first.tell(90)
    assert not first.is_ahead()
    first.tell(91)
    assert first.is_ahead()


def test_nobody_waits_for_a_front_that_has_left(tmp_path):
    first, second = shares(tmp_path)
    first.tell(1)
    assert first.is_ahead()
    second.leave()
    assert not first.is_ahead()


def test_a_front_that_comes_back_begins_with_none(tmp_path):
    first, second = shares(tmp_path)
    second.tell(7)
    Share(tmp_path / "shared", index=1, fronts=2)
    first.tell(1)
    assert first.is_ahead()


def test_a_burst_is_shared_out(tmp_path, listener):
    async def main() -> None:
        fronts = [Taken(), Taken()]
        clients = connect(listener, 40)  # they wait before anybody looks
        acceptors = [
            acceptor(listener, taken, share)
            for taken, share in zip(fronts, shares(tmp_path), strict=True)
        ]
        await settled(fronts, 40)
        assert [len(front.transports) for front in fronts] == pytest.approx([20, 20], abs=3)
        for each in (*acceptors, *clients):
            each.close()

    asyncio.run(main())


def test_what_a_front_that_hangs_does_not_take_another_takes(tmp_path, listener):
    async def main() -> None:
        ours, _ = shares(tmp_path)  # nobody is behind the other one
        front = Taken()
        accepting = acceptor(listener, front, ours)
        clients = connect(listener, 8)
        await settled([front], 8)
        for each in (accepting, *clients):
            each.close()

    asyncio.run(main())


def test_a_closed_one_takes_no_more(tmp_path, listener):
    async def main() -> None:
        first, second = Taken(), Taken()
        ours, theirs = shares(tmp_path)
        acceptor(listener, first, ours).close()
        accepting = acceptor(listener, second, theirs)
        clients = connect(listener, 4)
        await settled([second], 4)
        assert first.transports == []
        for each in (accepting, *clients):
            each.close()

    asyncio.run(main())


def test_without_descriptors_it_waits_for_some(tmp_path, listener, monkeypatch):
    async def main() -> None:
        ours, _ = shares(tmp_path, fronts=2)
        front = Taken()
        refusals = iter([OSError(24, "Too many open files")])
        real = socket.socket.accept

        def accept(self: socket.socket) -> tuple[socket.socket, object]:
            for refusal in refusals:
                raise refusal
            return real(self)

        monkeypatch.setattr(socket.socket, "accept", accept)
        accepting = acceptor(listener, front, ours)
        clients = connect(listener, 1)
        await settled([front], 1)
        assert next(refusals, None) is None
        for each in (accepting, *clients):
            each.close()

    asyncio.run(main())
