"""The processes other than hosts: nursery, fronts, control plane. Each is kept running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gnomon.core import limits
from gnomon.core.deployment import ProcessStatus
from gnomon.supervisor.backoff import Backoff, describe_exit

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Child:
    """How to start one process.

    Attributes:
        prepare: Called before each start; returns the command, its environment, and the
            descriptors it inherits.
        started: Called after each start, to close what only the child needs.
        ready: Read end of a pipe to which it writes a byte when it works, after each start; None:
            it works as soon as it runs.
    """

    name: str
    prepare: Callable[[], tuple[Sequence[str], Mapping[str, str], Sequence[int]]]
    started: Callable[[], None] = lambda: None
    ready: int | None = None
    log_path: Path
    pid: int | None = None
    is_ready: bool = False
    restarts: int = 0
    backoff: Backoff = field(default_factory=Backoff)

    def status(self) -> ProcessStatus:
        """Return what is known of it."""
        return ProcessStatus(
            name=self.name,
            pid=self.pid,
            state="running" if self.is_ready else "starting",
            restarts=self.restarts,
            log=str(self.log_path),
        )


class Children:
    """Starts the children, and starts them again when they die."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._stopping = False
        self.died = asyncio.Event()  # one of them, at any time
        self.ready = asyncio.Event()  # all of them, at one time

    def status(self) -> list[ProcessStatus]:
        """Return what is known of each child."""
        return [child.status() for child in self._children]

    def start(self, child: Child) -> None:
        """Start a child and keep it running."""
        self._children.append(child)
        self.ready.clear()
        if child.ready is not None:
            asyncio.get_running_loop().add_reader(child.ready, self._told_ready, child, child.ready)
        self._spawn(child)

    def stop(self, *names: str) -> None:
        """Ask children to end, and start none again."""
        self._stopping = True
        for child in self._children:
            if child.name in names and child.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGTERM)

    def running(self, *names: str) -> bool:
        """Say whether any of the named children is there."""
        return any(child.pid is not None for child in self._children if child.name in names)

    def reaped(self, pid: int, wait_status: int) -> bool:
        """Take note that a process ended; say whether it was a child of this kind."""
        child = next((child for child in self._children if child.pid == pid), None)
        if child is None:
            return False
        child.pid, child.is_ready = None, False
        if self._stopping:
            log.info("process.ended name=%s how=%s", child.name, describe_exit(wait_status))
        else:
            log.warning("process.died name=%s how=%s", child.name, describe_exit(wait_status))
            self.died.set()
            child.restarts += 1
            pause_s = child.backoff.pause_s(time.monotonic())
            asyncio.get_running_loop().call_later(pause_s, self._spawn, child)
        return True

    def _told_ready(self, child: Child, pipe: int) -> None:
        os.read(pipe, 1)
        self._is_ready(child)

    def _is_ready(self, child: Child) -> None:
        child.is_ready = child.pid is not None
        if all(each.is_ready for each in self._children):
            self.ready.set()

    def _spawn(self, child: Child) -> None:
        if self._stopping:
            return
        command, environment, descriptors = child.prepare()
        if child.log_path.exists() and child.log_path.stat().st_size > limits.PROCESS_LOG_BYTES_MAX:
            child.log_path.replace(child.log_path.with_suffix(".log.1"))
        with child.log_path.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                # Ctrl-C in a terminal reaches the whole group; only the supervisor decides. One
                # session for all, so that niceness counts between them (see host/process.py).
                process_group=0,
            )
        child.pid = process.pid
        # Reaped by pid for all children alike; Popen must not wait for it too.
        process.returncode = 0
        child.started()
        if child.ready is None:
            self._is_ready(child)
        log.info("process.started name=%s pid=%d", child.name, process.pid)
