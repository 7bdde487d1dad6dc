"""How several fronts take connections from one listening socket: each its share.

The fronts of a server listen at one socket, so a front that dies or hangs takes nothing with it:
the others accept whoever waits. Left alone they would share badly, for whoever wakes up first takes
all that wait. So each takes one at a time, and one that has more than another waits a moment.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable
from pathlib import Path

from gnomon.core import limits

_COUNT_BYTES = 4
_GONE = 2**31 - 1
_STEP_BACK_S = 0.001
_NO_DESCRIPTORS_PAUSE_S = 0.1


class Share:
    """How many connections each front of this server has, in memory that they share.

    Args:
        path: Of a file that all fronts map; made if it is missing.
        index: Of this front.
        fronts: How many there are.
    """

    def __init__(self, path: Path, *, index: int, fronts: int) -> None:
        with path.open("ab+") as file:
            file.truncate(limits.FRONTS_MAX * _COUNT_BYTES)
            memory = mmap.mmap(file.fileno(), limits.FRONTS_MAX * _COUNT_BYTES)
        self._counts = memoryview(memory).cast("i")
        self._index = index
        self._others = [other for other in range(fronts) if other != index]
        self.tell(0)

    def tell(self, count: int) -> None:
        """Tell the others how many connections this front has."""
        self._counts[self._index] = count

    def leave(self) -> None:
        """Tell the others to wait for this front no more."""
        self.tell(_GONE)

    def is_ahead(self) -> bool:
        """Say whether another front has clearly fewer connections than this one."""
        least = min(self._counts[other] for other in self._others)
        return self._counts[self._index] > least + least // 8


class Acceptor:
    """Takes connections, one each time that the loop looks, until it is closed.

    Args:
        listener: Bound and listening; closed with this.
        connected: Makes the protocol of a new connection.
        count: How many connections there are.
    """

    def __init__(
        self,
        listener: socket.socket,
        connected: Callable[[], asyncio.BaseProtocol],
        count: Callable[[], int],
        share: Share,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._connected = connected
        self._count = count
        self._share = share
        self._beginnings: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._loop.add_reader(listener, self._ready)

    def close(self) -> None:
        """Take no more."""
        self._share.leave()
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _ready(self) -> None:
        self._tell()
        if self._share.is_ahead():
            # One that has fewer takes it meanwhile; one that hangs does not, and then we do.
            self._step_back(_STEP_BACK_S)
        else:
            self._accept()

    def _tell(self) -> None:
        self._share.tell(self._count() + len(self._beginnings))

    def _step_back(self, pause_s: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(pause_s, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._ready)
        self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return  # another front was quicker, or the client left
        except OSError:  # out of descriptors: who waits, waits until some are free
            if self._pause is None:
                self._step_back(_NO_DESCRIPTORS_PAUSE_S)
            return
        connection.setblocking(False)
        begun = self._loop.create_task(
            self._loop.connect_accepted_socket(self._connected, connection)
        )
        self._beginnings.add(begun)
        begun.add_done_callback(self._begun)
        self._tell()

    def _begun(self, task: asyncio.Task[object]) -> None:
        self._beginnings.discard(task)
        if not task.cancelled():
            task.exception()  # the client left already
