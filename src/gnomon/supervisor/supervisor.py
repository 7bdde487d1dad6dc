"""The supervisor's loop: it starts everything, reaps everything, and ends everything."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from gnomon import unix_sockets
from gnomon.core import limits
from gnomon.supervisor.children import Child, Children
from gnomon.supervisor.hosts import Hosts
from gnomon.supervisor.nursery import NurseryLine
from gnomon.supervisor.orders import LINE_BYTES_MAX, Orders

log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """The parent of all processes of one server.

    Args:
        run_directory: Sockets; mode 0700, empty.
        log_directory: Where the processes' logs go.
        nursery_command: Given two descriptors, returns the nursery's command and environment.
        probe_timeout_s: How long an uploaded model may take to load and run once.
    """

    def __init__(
        self,
        *,
        run_directory: Path,
        log_directory: Path,
        nursery_command: Callable[[int, int], tuple[Sequence[str], dict[str, str]]],
        probe_timeout_s: float = limits.PROBE_TIMEOUT_S,
    ) -> None:
        self._run_directory = run_directory
        self._log_directory = log_directory
        self._nursery_command = nursery_command
        # Only this process holds the write end: the others read its end, however it ends.
        self.lifeline, self._lifeline_write = os.pipe()
        self.children = Children()
        self._nursery = NurseryLine()
        self.hosts = Hosts(
            run_directory, log_directory / "hosts.log", self._nursery, probe_timeout_s
        )
        self._stop = asyncio.Event()

    async def run(
        self,
        children: Sequence[Child],
        started: Callable[[], None],
        stopping: Callable[[], None] = lambda: None,
    ) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code.

        Args:
            children: The fronts and the control plane.
            started: Called once all are ready.
            stopping: Called before the children are asked to end.
        """
        loop = asyncio.get_running_loop()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        orders = Orders(self.hosts, self.children.status)
        listener = unix_sockets.listen(self._run_directory / "supervisor.sock")
        server = await asyncio.start_unix_server(
            orders.converse, sock=listener, limit=LINE_BYTES_MAX
        )
        async with server:
            self.children.start(self._nursery_child())
            for child in children:
                self.children.start(child)
            if not await self._all_ready():
                log.error("server.not_started")
                await self._shut_down([child.name for child in children])
                return 1
            if not self._stop.is_set():
                started()
                log.info("server.started")
            await self._stop.wait()
            stopping()
            await self._shut_down([child.name for child in children])
        return 0

    def _nursery_child(self) -> Child:
        theirs: list[socket.socket] = []

        def prepare() -> tuple[Sequence[str], dict[str, str], Sequence[int]]:
            theirs.append(self._nursery.open())
            descriptors = (theirs[0].fileno(), self.lifeline)
            command, environment = self._nursery_command(*descriptors)
            return command, environment, descriptors

        return Child(
            name="nursery",
            prepare=prepare,
            started=lambda: theirs.pop().close(),
            log_path=self._log_directory / "nursery.log",
        )

    async def _all_ready(self) -> bool:
        """Wait until all children are ready; false if that takes too long or a child dies.

        A child that dies now, before it ever worked, would die again: better to say so at once.
        """
        events = (self.children.ready, self._stop, self.children.died)
        tasks = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(
            tasks, timeout=limits.CHILD_READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        for task in tasks:
            task.cancel()
        return self.children.ready.is_set() or self._stop.is_set()

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            log.warning("server.second_signal")
            self.hosts.kill_all()
            os._exit(1)  # the lifeline ends the rest
        self._stop.set()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if not self.children.reaped(pid, wait_status):
                    self.hosts.reaped(pid, wait_status)

    async def _shut_down(self, names: Sequence[str]) -> None:
        """End in the order of a request: first who takes them, then who answers them."""
        log.info("server.stopping")
        self.children.stop(*names)
        await _until(lambda: not self.children.running(*names), limits.STOP_TIMEOUT_S)
        self.hosts.stop_all()
        await _until(lambda: not self.hosts.running(), 2.0)
        self.hosts.kill_all()
        self._nursery.close()
        await _until(lambda: not self.children.running("nursery"), 2.0)
        log.info("server.stopped")


async def _until(true: Callable[[], bool], timeout_s: float) -> None:
    """Wait until something is so, 20 ms apart: only for the end of the process."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not true():
                await asyncio.sleep(0.02)
