"""By when a connection must have got on: a client may be slow, but not for ever."""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from fcntl import ioctl
from math import inf
from termios import TIOCOUTQ

from gnomon.core import limits
from gnomon.front.port import Port


class Pace:
    """The deadlines of one connection, in loop time; they are looked at once in a sweep.

    Attributes:
        due: What is being received, or the next request, must be here; infinite while the
            connection waits for us.
        write_due: The client must have taken some of its answer; infinite while it takes all.
    """

    __slots__ = ("_body_bytes", "_port", "_unsent_bytes", "due", "write_due")

    def __init__(self, port: Port) -> None:
        self._port = port
        self._body_bytes = 0
        self._unsent_bytes = 0
        self.due = inf
        self.write_due = inf

    def next_request(self) -> None:
        """Expect a request."""
        self.due = self._port.now + self._port.timers.keep_alive_s

    def head(self) -> None:
        """Expect the rest of a head."""
        self.due = self._port.now + self._port.timers.head_s

    def body(self, received_bytes: int = 0) -> None:
        """Expect more of a body, a fair piece at a time: who drips would hold us for ever."""
        if not received_bytes or received_bytes - self._body_bytes >= limits.BODY_STALL_BYTES:
            self._body_bytes = received_bytes
            self.due = self._port.now + self._port.timers.body_stall_s

    def end(self, *, linger: bool) -> None:
        """Expect the client to take what is left, or to leave."""
        timers = self._port.timers
        self.due = self._port.now + (timers.linger_s if linger else timers.body_stall_s)

    def write(self, unsent_bytes: int) -> None:
        """Expect the client to take some of this."""
        self._unsent_bytes = unsent_bytes
        self.write_due = self._port.now + self._port.timers.body_stall_s

    def is_taken(self, unsent_bytes: int) -> bool:
        """Say whether the client has taken some of its answer; if so, expect more of the same."""
        if not 0 < unsent_bytes < self._unsent_bytes:
            return False
        self.write(unsent_bytes)
        self.due = max(self.due, self.write_due)
        return True

    def is_over(self, now: float) -> bool:
        """Say whether something is late."""
        return self.due <= now or self.write_due <= now


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the client's side has not taken, here and in the kernel."""
    unsent = array("i", [0])
    with contextlib.suppress(OSError):  # closed meanwhile
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, unsent)
    return transport.get_write_buffer_size() + unsent[0]
