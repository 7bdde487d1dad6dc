"""One connection to a model host: bytes to frames, and what may come when.

It owns its socket rather than an asyncio transport, because descriptors of shared memory go over
it. Small tensors are in the frames; large ones lie in shared memory, see `buffers`.
"""

from __future__ import annotations

import array
import asyncio
import logging
import socket
from typing import Protocol

from gnomon.core import limits
from gnomon.core.frames import (
    HEADER,
    Frame,
    FrameError,
    Kind,
    Packed,
    body_size,
    decode,
    encode_one,
    pack,
)
from gnomon.core.tensors import Array
from gnomon.front.buffers import Buffers, size_for

_LOG = logging.getLogger("gnomon.front.link")
_READ_BYTES = 64 * limits.KIB
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


class Link:
    """One connection; it reports to its owner until it has ended.

    Args:
        owner: Whom it reports to, never from within `run`.
        connection: A connected socket, the link's from now on.

    Attributes:
        greeted: The host has said which model version it has, and it is the right one.
        hello_due: Loop time by which it must have.
    """

    def __init__(self, owner: LinkOwner, connection: socket.socket) -> None:
        self._owner: LinkOwner | None = owner
        self._socket = connection
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._readable)
        self._received = bytearray()  # of a frame that is not whole
        self._unsent = memoryview(b"")
        self._buffers: Buffers | None = None
        self._lent: int | None = None  # number of the run that may use the buffers
        self._large_bytes = 0  # of the largest data there was, if it was large
        self._rest_timer: asyncio.TimerHandle | None = None
        self._rest_due = 0.0
        self._complained = False
        self.greeted = False
        self.hello_due = self._loop.time() + limits.HOST_HELLO_TIMEOUT_S

    @property
    def writable(self) -> bool:
        """Say whether the host takes what it is sent."""
        return not self._unsent

    def run(self, number: int, deadline_ns: int, tensors: tuple[Array, ...]) -> None:
        """Ask the host for a run.

        Args:
            number: Found again in the answer, as `Frame.request`.
            deadline_ns: Of the machine's monotonic clock.
            tensors: The inputs, in the order of the signature.

        Raises:
            FrameError: They are too large; nothing was sent.
        """
        frame = None
        if not self._large_bytes:
            frame = encode_one(Kind.RUN, number, deadline_ns, tensors)
        if frame is None:
            frame = self._frame(pack(tensors), number, deadline_ns)
        if self._owner is not None:
            self._send(frame)

    def drop(self, reason: str) -> None:
        """Close, because the host is not to be believed any more; the owner is told why."""
        owner = self._owner
        self.abandon()
        if owner is not None:
            owner.lost(self, reason)

    def abandon(self) -> None:
        """Close without telling the owner."""
        if self._owner is None:
            return
        self._owner = None
        self._loop.remove_reader(self._socket)
        if self._unsent:
            self._loop.remove_writer(self._socket)
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        if self._buffers is not None:
            self._buffers.passed()
        self._socket.close()

    # Sending

    def _frame(self, packed: Packed, number: int, deadline_ns: int) -> bytes:
        """Return the frame of a run; if there are large tensors, one that may use the buffers.

        One run at a time: nobody else writes there until the host has answered it.
        """
        if packed.size >= limits.BUFFER_FROM_BYTES:
            self._large_bytes = max(self._large_bytes, packed.size)
        buffers = self._free_buffers() if self._large_bytes else None
        if buffers is None:
            return packed.inline(Kind.RUN, number, deadline_ns)
        self._lent = number
        if packed.size < limits.BUFFER_FROM_BYTES:  # but the answer may be large
            return packed.inline(Kind.RUN, number, deadline_ns, buffers.to_host.generation)
        self._rest_later()
        return packed.into(buffers.to_host, Kind.RUN, number, deadline_ns)

    def _free_buffers(self) -> Buffers | None:
        """Return buffers that are large enough; None while they are in use or cannot be made."""
        if self._lent is not None or self._unsent:
            return None
        if self._buffers is None or self._buffers.size < self._large_bytes:
            generation = 1 if self._buffers is None else self._buffers.from_host.generation + 1
            try:
                self._buffers = Buffers(generation, size_for(self._large_bytes))
            except OSError as error:
                if not self._complained:
                    self._complained = True
                    _LOG.warning("no memory can be shared with a host: %s", error.strerror)
                return None
        return self._buffers

    def _rest_later(self) -> None:
        self._rest_due = self._loop.time() + limits.BUFFER_IDLE_S
        if self._rest_timer is None:
            self._rest_timer = self._loop.call_at(self._rest_due, self._rest)

    def _rest(self) -> None:
        """Give the memory back, if it was not used for a while."""
        self._rest_timer = None
        if self._lent is not None:
            self._rest_later()
        elif self._loop.time() < self._rest_due:
            self._rest_timer = self._loop.call_at(self._rest_due, self._rest)
        elif self._buffers is not None:
            self._buffers.rest()
            self._large_bytes = 0

    def _send(self, frame: bytes) -> None:
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + frame)
            return
        sent = self._send_now(frame)
        if sent < len(frame):
            self._unsent = memoryview(frame)[sent:]
            self._loop.add_writer(self._socket, self._send_more)

    def _send_now(self, data: bytes | memoryview) -> int:
        """Send what the socket takes, with the descriptors that the host has not yet."""
        try:
            if self._buffers is None or not self._buffers.descriptors:
                return self._socket.send(data)
            rights = array.array("i", self._buffers.descriptors)
            sent = self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            self._buffers.passed()
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(data)  # the host is gone; reading tells, after its last words
        except OSError as error:
            self._loop.call_soon(self.drop, f"cannot be sent to: {error.strerror}")
            return len(data)
        return sent

    def _send_more(self) -> None:
        self._unsent = self._unsent[self._send_now(self._unsent) :]
        if not self._unsent:
            self._loop.remove_writer(self._socket)
            if self._owner is not None:
                self._owner.writable_again()

    # Receiving

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.feed(data)
        else:
            self.drop("")

    def feed(self, data: bytes) -> None:
        """Take what the host sent."""
        if self._received:
            self._received += data
            if not self._is_frame_complete():
                return
            data = bytes(self._received)
            self._received.clear()
        try:
            used = self._read_frames(data)
        except FrameError as error:
            self.drop(str(error))
            return
        if used < len(data):
            self._received += data[used:]
        if self._owner is not None:
            self._owner.replies_read()

    def _is_frame_complete(self) -> bool:
        if len(self._received) < HEADER.size:
            return False
        try:
            return len(self._received) >= HEADER.size + body_size(self._received)
        except FrameError:
            return True  # and is found out by the one who reads it

    def _read_frames(self, data: bytes) -> int:
        """Hand on the whole frames in `data`; return how many bytes they have."""
        start = 0
        area = None if self._buffers is None else self._buffers.from_host
        while self._owner is not None and len(data) - start >= HEADER.size:
            if data[start + _KIND_AT] != Kind.RESULT:
                _check_text(data, start)
            decoded = decode(data, start, area)
            if decoded is None:
                break
            frame, end = decoded
            self._take(frame, end - start - HEADER.size)
            start = end
        return start

    def _take(self, frame: Frame, body_bytes: int) -> None:
        assert self._owner is not None
        if (frame.kind is Kind.HELLO) == self.greeted:
            raise FrameError("sent its frames out of order")
        if not self.greeted:
            self._owner.greeted(self, frame.text)
            return
        if frame.generation:
            frame = self._copied_out(frame)
        elif body_bytes >= limits.BUFFER_FROM_BYTES:  # the next one shall find a buffer
            self._large_bytes = max(self._large_bytes, body_bytes)
        if frame.request == self._lent:
            self._lent = None
        self._owner.received(frame)

    def _copied_out(self, frame: Frame) -> Frame:
        """Return the frame with tensors that its host cannot change any more."""
        if frame.request != self._lent:
            raise FrameError("used a buffer that it was not lent")
        self._rest_later()
        return frame._replace(tensors=tuple([tensor.copy() for tensor in frame.tensors]))


def _check_text(data: bytes, start: int) -> None:
    """Refuse, before it is there, what is neither a result nor a text of reasonable length."""
    if data[start + _KIND_AT] not in (Kind.HELLO, Kind.FAILED):
        raise FrameError("sent a frame that no host sends")
    if body_size(data, start) > limits.HOST_TEXT_BYTES_MAX:
        raise FrameError("sent a text that is too long")
