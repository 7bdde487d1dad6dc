"""A link and the host's end of its socket, both in the hands of a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import numpy as np

from gnomon.core.frames import Frame, FrameError, Kind, encode
from gnomon.front.link import Link
from gnomon.host.connection import Connection

UNLUCKY = 13


class Owner:
    """Believes every frame, except the answer to request 13."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.reasons: list[str] = []
        self.told = asyncio.Event()

    async def hears(self) -> None:
        """Wait until it hears something more."""
        await asyncio.wait_for(self.told.wait(), 10)
        self.told.clear()

    def greeted(self, link: Link, uuid: str) -> None:
        link.greeted = True
        self.told.set()

    def received(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.told.set()
        if frame.request == UNLUCKY:
            raise FrameError("unlucky")

    def replies_read(self) -> None:
        pass

    def writable_again(self) -> None:
        self.told.set()

    def lost(self, link: Link, reason: str) -> None:
        self.reasons.append(reason)
        self.told.set()


class Talk:
    """A greeted link, its owner, and its host.

    Attributes:
        raw: The host's socket.
        host: The same, as a host uses it.
    """

    def __init__(self) -> None:
        self.owner = Owner()
        ours, self.raw = socket.socketpair()
        self.link = Link(self.owner, ours)
        self.host = Connection(self.raw)

    async def say(self, data: bytes) -> None:
        """Send as the host, and wait until it was heard."""
        self.raw.sendall(data)
        await self.owner.hears()

    def ask(self, *tensors: np.ndarray, number: int = 1) -> Frame:
        """Have the link ask for a run; return what the host gets."""
        self.link.run(number, 10**18, tensors)
        return self.heard()

    def heard(self) -> Frame:
        """Return the next question that the host gets."""
        while (frame := self.host.next_frame()) is None:
            assert self.host.read(), "the link has hung up"
        return frame

    async def answer(self, question: Frame, *outputs: np.ndarray) -> Frame:
        """Answer as a good host does; return what the owner gets."""
        count = len(self.owner.frames)
        # In a thread: the link reads meanwhile what is larger than the socket.
        await asyncio.to_thread(
            self.host.send_result, question.request, 1, outputs, question.generation
        )
        while len(self.owner.frames) == count:
            await self.owner.hears()
        return self.owner.frames[-1]


def talk(work: Callable[[Talk], Awaitable[None]]) -> Owner:
    """Run `work` with a fresh link; return its owner."""

    async def run() -> Owner:
        talk = Talk()
        try:
            await talk.say(encode(Frame(Kind.HELLO, text="u")))
            await asyncio.wait_for(work(talk), 20)
        finally:
            talk.link.abandon()
            talk.raw.close()
        return talk.owner

    return asyncio.run(run())
