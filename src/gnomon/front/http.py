"""The port: takes connections, ends what takes too long in one sweep a second, drains."""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate

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
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._port.connections)

    async def listen(self, listener: socket.socket) -> None:
        """Take connections from a bound socket."""
        self._sweep()
        self._listener = await self._loop.create_server(
            lambda: HttpConnection(self._port), sock=listener, backlog=1024
        )

    async def drain(self, timeout_s: float) -> None:
        """Take no new connection, answer what has been received, close; after `timeout_s` all."""
        port = self._port
        port.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(port.connections):
            connection.drain()
        port.empty.clear()
        if port.connections:
            try:
                await asyncio.wait_for(port.empty.wait(), timeout_s)
            except TimeoutError:
                for connection in list(port.connections):
                    connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        port = self._port
        port.now = self._loop.time()
        port.date_line = f"Date: {formatdate(usegmt=True)}\r\n".encode()
        for connection in list(port.connections):
            if connection.deadline <= port.now or connection.write_deadline <= port.now:
                connection.expire()
        self._sweeper = self._loop.call_later(port.timers.sweep_s, self._sweep)
