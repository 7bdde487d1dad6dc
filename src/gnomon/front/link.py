"""One connection to a model host: bytes to frames, and what may come when."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from gnomon.core import limits
from gnomon.core.frames import HEADER, Frame, FrameError, Kind, body_size, decode

_KIND_AT = 4  # offset of the kind in a header


class LinkOwner(Protocol):
    """Whom a link reports to."""

    def greeted(self, link: Link, uuid: str) -> None:
        """Take the first frame; raise FrameError to drop the connection."""

    def received(self, frame: Frame) -> None:
        """Take an answer; raise FrameError to drop the connection."""

    def replies_read(self) -> None:
        """Note that the answers of one read have been taken."""

    def writable_again(self) -> None:
        """Note that the host reads again."""

    def lost(self, link: Link, reason: str) -> None:
        """Note that the connection has ended."""


class Link(asyncio.Protocol):
    """One connection; it reports to its owner until it has ended.

    Attributes:
        greeted: The host has said which model version it has, and it is the right one.
        hello_due: Loop time by which it must have.
        writable: The host takes what it is sent.
    """

    def __init__(self, owner: LinkOwner) -> None:
        self._owner: LinkOwner | None = owner
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self.greeted = False
        self.hello_due = self._loop.time() + limits.HOST_HELLO_TIMEOUT_S
        self.writable = True

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        if self._owner is not None:
            assert self._transport is not None
            self._transport.write(frame)

    def drop(self, reason: str) -> None:
        """Close, because the host is not to be believed any more; the owner is told why."""
        owner = self._owner
        self.abandon()
        if owner is not None:
            owner.lost(self, reason)

    def abandon(self) -> None:
        """Close without telling the owner."""
        self._owner = None
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=limits.MIB)
        if self._owner is None:  # given up while it was being made
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.lost(self, "")

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._owner is not None:
            self._owner.writable_again()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer) if self._is_frame_complete() else b""
            if not data:
                return
            self._buffer.clear()
        try:
            used = self._read_frames(data)
        except FrameError as error:
            self.drop(str(error))
            return
        if used < len(data):
            self._buffer += data[used:]
        if self._owner is not None:
            self._owner.replies_read()

    def _is_frame_complete(self) -> bool:
        if len(self._buffer) < HEADER.size:
            return False
        try:
            return len(self._buffer) >= HEADER.size + body_size(self._buffer)
        except FrameError:
            return True  # and is found out by the one who reads it

    def _read_frames(self, data: bytes) -> int:
        """Hand on the whole frames in `data`; return how many bytes they have."""
        start = 0
        while self._owner is not None and len(data) - start >= HEADER.size:
            header = data[start : start + HEADER.size]
            size = body_size(header)
            if header[_KIND_AT] not in (Kind.RESULT, Kind.HELLO, Kind.FAILED):
                raise FrameError("sent a frame that no host sends")
            if header[_KIND_AT] != Kind.RESULT and size > limits.HOST_TEXT_BYTES_MAX:
                raise FrameError("sent a text that is too long")
            end = start + HEADER.size + size
            if end > len(data):
                break
            self._take(decode(header, data[start + HEADER.size : end]))
            start = end
        return start

    def _take(self, frame: Frame) -> None:
        assert self._owner is not None
        if (frame.kind is Kind.HELLO) == self.greeted:
            raise FrameError("sent its frames out of order")
        if self.greeted:
            self._owner.received(frame)
        else:
            self._owner.greeted(self, frame.text)
