"""The port: takes connections, ends what takes too long in one sweep a second, drains."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from email.utils import formatdate

from gnomon.core import limits
from gnomon.front.accepting import Acceptor, Share
from gnomon.front.calls import Handler
from gnomon.front.connection import HttpConnection
from gnomon.front.port import HttpTimers, Port

__all__ = ["HttpServer", "HttpTimers"]


class HttpServer:
    """All connections of one port.

    Args:
        handler: Answers the requests.
        timers: For tests; the defaults stand in core/limits.py.
    """

    def __init__(self, handler: Handler, *, timers: HttpTimers | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = Port(handler=handler, timers=timers or HttpTimers(), now=self._loop.time())
        self._listener: asyncio.Server | Acceptor | None = None
        self._socket: socket.socket | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._port.connections)

    def forget_heads(self) -> None:
        """Ask the handler again about every head: what it accepts has changed."""
        self._port.forget_heads()

    async def listen(self, listener: socket.socket, share: Share | None = None) -> None:
        """Take connections from a bound socket.

        Args:
            share: With which other fronts that listen at it; None: with none.
        """
        self._sweep()
        self._socket = listener
        if share is None:
            self._listener = await self._loop.create_server(
                self._connected, sock=listener, backlog=limits.LISTEN_BACKLOG
            )
        else:
            self._listener = Acceptor(listener, self._connected, lambda: self.connections, share)

    async def drain(self, timeout_s: float) -> None:
        """Answer what has been received and close each connection; after `timeout_s` all of them.

        While there are callers, who comes back within a moment is answered too: one whose
        connection was closed under him has no other place to go to yet.
        """
        port = self._port
        port.draining = True
        for connection in list(port.connections):
            connection.drain()
        await self._wait_empty(min(timeout_s, port.timers.drain_grace_s))
        await self._close_listener()
        if not await self._wait_empty(timeout_s):
            for connection in list(port.connections):
                connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _close_listener(self) -> None:
        """Take no more connections; those that wait to be taken would be reset, so they are."""
        if self._listener is None or self._socket is None:
            return
        begun = []
        with contextlib.suppress(OSError):  # nobody waits any more
            for _ in range(limits.LISTEN_BACKLOG):
                connection, _ = self._socket.accept()
                connection.setblocking(False)
                begun.append(self._loop.connect_accepted_socket(self._connected, connection))
        self._listener.close()
        await asyncio.gather(*begun, return_exceptions=True)

    async def _wait_empty(self, timeout_s: float) -> bool:
        """Wait until there is no connection; false if that takes longer."""
        self._port.empty.clear()
        if self._port.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._port.empty.wait(), timeout_s)
        return not self._port.connections

    def _connected(self) -> HttpConnection:
        return HttpConnection(self._port)

    def _sweep(self) -> None:
        port = self._port
        port.now = self._loop.time()
        port.date_line = f"Date: {formatdate(usegmt=True)}\r\n".encode()
        for connection in list(port.connections):
            if connection.pace.is_over(port.now):
                connection.expire()
        self._sweeper = self._loop.call_later(port.timers.sweep_s, self._sweep)
