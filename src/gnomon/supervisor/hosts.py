"""The model hosts: each is kept running until it is stopped, and probes run once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnomon import unix_sockets
from gnomon.core import limits
from gnomon.core.deployment import HostSpec, HostState, HostStatus, ProbeReport
from gnomon.core.errors import LimitReached
from gnomon.core.model import Signature
from gnomon.core.resources import USUAL
from gnomon.host.process import HostOrder, memory_limit
from gnomon.host.watchdog import EXIT_DEADLINE
from gnomon.supervisor.backoff import Backoff, describe_exit
from gnomon.supervisor.nursery import NurseryGone, NurseryLine, NurseryRefused
from gnomon.supervisor.pipes import LinePipe

log = logging.getLogger(__name__)

_NURSERY_RETRY_S = 0.2
_LOAD_CRASHES_MAX = 3
_LINE_BYTES_MAX = 2_000
_ENDED_AT_DEADLINE = (EXIT_DEADLINE, -signal.SIGALRM)  # the second by the kernel


@dataclass(slots=True)
class _Host:
    """One host that is wanted; the process behind it may change."""

    spec: HostSpec
    listener: socket.socket
    state: HostState = "starting"
    pid: int | None = None
    restarts: int = 0
    reason: str | None = None
    was_ready: bool = False
    load_crashes: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    timer: asyncio.TimerHandle | None = None

    def status(self) -> HostStatus:
        return HostStatus(
            name=self.spec.name,
            state=self.state,
            pid=self.pid,
            restarts=self.restarts,
            reason=self.reason,
            spec=self.spec,
        )


class Hosts:
    """Starts, watches, restarts and stops the hosts.

    Args:
        run_directory: Where their sockets are.
        log_path: Where what they print goes.
        nursery: Who forks them.
        probe_timeout_s: How long an uploaded model may take to load and run once.
    """

    def __init__(
        self,
        run_directory: Path,
        log_path: Path,
        nursery: NurseryLine,
        probe_timeout_s: float = limits.PROBE_TIMEOUT_S,
    ) -> None:
        self._run_directory = run_directory
        self._empty_directory = run_directory / "empty"
        self._empty_directory.mkdir(mode=unix_sockets.DIRECTORY_MODE, exist_ok=True)
        self._log_path = log_path
        if log_path.exists() and log_path.stat().st_size > limits.PROCESS_LOG_BYTES_MAX:
            log_path.replace(log_path.with_suffix(".log.1"))
        self._nursery = nursery
        self._probe_timeout_s = probe_timeout_s
        self._hosts: dict[str, _Host] = {}
        self._ended: dict[int, Callable[[int], None]] = {}  # pid -> what to do when it ends
        self._unclaimed: dict[int, int] = {}  # pid -> wait status, of forks not yet announced
        self._pipes: dict[int, tuple[LinePipe, LinePipe]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def status(self) -> list[HostStatus]:
        """Return every host that is wanted."""
        return [host.status() for host in self._hosts.values()]

    def start(self, spec: HostSpec) -> None:
        """Keep a host running; one that failed is tried again.

        Raises:
            LimitReached: There are `HOSTS_MAX` hosts already.
            OSError: Its socket cannot be made.
        """
        host = self._hosts.get(spec.name)
        if host is not None and host.state != "failed":
            return
        if host is None:
            if len(self._hosts) >= limits.HOSTS_MAX:
                raise LimitReached(f"{limits.HOSTS_MAX} model hosts run already; undeploy some.")
            listener = unix_sockets.listen(self._socket_path(spec.name))
            host = self._hosts[spec.name] = _Host(spec, listener)
        host.state, host.reason, host.load_crashes = "starting", None, 0
        self._spawn(host)

    def stop(self, name: str) -> None:
        """Let a host finish its connections and end; unknown names are fine."""
        host = self._hosts.pop(name, None)
        if host is None:
            return
        if host.timer is not None:
            host.timer.cancel()
        host.listener.close()
        self._socket_path(name).unlink(missing_ok=True)
        if host.pid is not None:
            pid = host.pid
            # One that still loads has nobody to finish for, and may never hear of SIGTERM.
            _kill(pid, signal.SIGTERM if host.state == "ready" else signal.SIGKILL)
            overdue = asyncio.get_running_loop().call_later(
                limits.DRAIN_TIMEOUT_S, _kill, pid, signal.SIGKILL
            )
            self._ended[pid] = lambda _: overdue.cancel()

    def replace(self, name: str) -> None:
        """End a host's process now and start another: it does not even end itself any more."""
        host = self._hosts.get(name)
        if host is not None and host.pid is not None:
            log.warning("host.wedged name=%s pid=%d", name, host.pid)
            _kill(host.pid, signal.SIGKILL)

    def stop_all(self) -> None:
        """Let every host end."""
        for name in list(self._hosts):
            self.stop(name)

    def running(self) -> bool:
        """Say whether a host process is still there."""
        return bool(self._ended)

    def kill_all(self) -> None:
        """End every host process now."""
        for pid in self._ended:
            _kill(pid, signal.SIGKILL)

    def reaped(self, pid: int, wait_status: int) -> None:
        """Take note that a process ended which was no other child of the supervisor's."""
        ended = self._ended.pop(pid, None)
        for pipe in self._pipes.pop(pid, ()):
            pipe.finish()  # its last words come before its end
        if ended is not None:
            ended(wait_status)
        elif len(self._unclaimed) < limits.HOSTS_MAX:
            self._unclaimed[pid] = wait_status

    async def probe(self, path: str, sha256: str, declared: Signature | None = None) -> ProbeReport:
        """Load a model file in a throw-away host.

        Args:
            declared: What a Python model is said to take and give; None: it is an ONNX file.

        Returns:
            What it found; a host that crashed or did not end counts as a refusal.
        """
        loop = asyncio.get_running_loop()
        exited: asyncio.Future[int] = loop.create_future()
        reports: list[ProbeReport] = []
        order = HostOrder(
            name="gnomon-probe",
            mode="probe",
            model_path=path,
            version_uuid=sha256,
            threads=1,
            memory_bytes=memory_limit(Path(path).stat().st_size, USUAL),
            cpu_s=math.ceil(self._probe_timeout_s),
            nice=limits.CHALLENGER_NICE,
            empty_directory=str(self._empty_directory),
            declared=declared,
        )
        first: asyncio.Future[None] = loop.create_future()

        def told(facts: dict[str, Any]) -> None:
            reports[:] = [ProbeReport.from_json(facts["report"])]
            if not first.done():
                first.set_result(None)

        try:
            with socket.socket(socket.AF_UNIX) as nothing:
                pid = await self._fork(order, nothing.fileno(), told)
        except NurseryRefused as refusal:
            return ProbeReport(reason="python_not_allowed", message=str(refusal))
        self._watch(pid, exited.set_result)
        either: set[asyncio.Future[Any]] = {first, exited}
        await asyncio.wait(
            either, timeout=self._probe_timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if first.done():  # it can be served; what else is found out must not take long
            await asyncio.wait({exited}, timeout=limits.PROBE_ROWS_TIMEOUT_S)
        timed_out = not exited.done()
        if timed_out:
            _kill(pid, signal.SIGKILL)
        wait_status = await exited
        if reports:
            return reports[0]
        if timed_out:
            return self._load_timeout()
        code = os.waitstatus_to_exitcode(wait_status)
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return self._load_timeout()
        return ProbeReport(
            reason="model_crashed_loader",
            message=f"Loading the model {describe_exit(wait_status)}. It is not served.",
        )

    def _load_timeout(self) -> ProbeReport:
        return ProbeReport(
            reason="model_load_timeout",
            message=f"The model did not load and run within {self._probe_timeout_s:.0f} s.",
        )

    def _spawn(self, host: _Host) -> None:
        task = asyncio.get_running_loop().create_task(self._start_process(host))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_process(self, host: _Host) -> None:
        spec = host.spec
        order = HostOrder(
            name=spec.name,
            mode="serve",
            model_path=spec.model_path,
            version_uuid=spec.version_uuid,
            threads=spec.resources.threads,
            memory_bytes=memory_limit(spec.model_bytes, spec.resources),
            cpu_s=None,
            nice=limits.CHALLENGER_NICE if spec.role == "challenger" else 0,
            empty_directory=str(self._empty_directory),
            declared=spec.declared,
        )
        try:
            pid = await self._fork(
                order, host.listener.fileno(), lambda facts: self._told(host, facts)
            )
        except (NurseryGone, OSError) as error:
            log.warning("host.not_forked name=%s error=%r", spec.name, error)
            self._later(host, _NURSERY_RETRY_S)
            return
        except NurseryRefused as refusal:
            host.state, host.reason = "failed", str(refusal)
            log.warning("host.refused name=%s reason=%s", spec.name, refusal)
            return
        log.info("host.started name=%s pid=%d", spec.name, pid)
        if self._hosts.get(spec.name) is not host:  # stopped while it was forked
            _kill(pid, signal.SIGKILL)
            self._watch(pid, lambda _: None)
            return
        host.pid = pid
        overdue = asyncio.get_running_loop().call_later(
            limits.HOST_LOAD_TIMEOUT_S, self._load_overdue, host, pid
        )

        def died(wait_status: int) -> None:
            overdue.cancel()
            self._died(host, wait_status)

        self._watch(pid, died)

    async def _fork(
        self, order: HostOrder, listener: int, told: Callable[[dict[str, Any]], None]
    ) -> int:
        status_read, status_write = os.pipe()
        error_read, error_write = os.pipe()
        try:
            pid = await self._nursery.fork(order, [listener, status_write, error_write])
        except BaseException:
            os.close(status_read)
            os.close(error_read)
            raise
        finally:
            os.close(status_write)
            os.close(error_write)
        self._pipes[pid] = (
            LinePipe(status_read, lambda lines: _told(order.name, lines, told)),
            LinePipe(error_read, lambda lines: self._printed(order.name, lines), cut=True),
        )
        return pid

    def _watch(self, pid: int, ended: Callable[[int], None]) -> None:
        self._ended[pid] = ended
        if pid in self._unclaimed:
            self.reaped(pid, self._unclaimed.pop(pid))

    def _told(self, host: _Host, facts: dict[str, Any]) -> None:
        if self._hosts.get(host.spec.name) is not host:
            return
        host.state = "ready" if facts["state"] == "ready" else "failed"
        host.reason = None if host.state == "ready" else str(facts["reason"])
        host.was_ready = host.was_ready or host.state == "ready"
        log.info("host.%s name=%s reason=%s", host.state, host.spec.name, host.reason)

    def _load_overdue(self, host: _Host, pid: int) -> None:
        if host.pid == pid and host.state == "starting":
            host.state = "failed"
            host.reason = f"The model did not load within {limits.HOST_LOAD_TIMEOUT_S:.0f} s."
            _kill(pid, signal.SIGKILL)

    def _died(self, host: _Host, wait_status: int) -> None:
        host.pid = None
        if self._hosts.get(host.spec.name) is not host or host.state == "failed":
            return
        code = os.waitstatus_to_exitcode(wait_status)
        host.reason = (
            "Its process was ended because a run did not stop at its deadline."
            if code in _ENDED_AT_DEADLINE
            else f"Its process {describe_exit(wait_status)}."
        )
        log.warning("host.died name=%s reason=%s", host.spec.name, host.reason)
        if not host.was_ready:
            host.load_crashes += 1
            if host.load_crashes >= _LOAD_CRASHES_MAX:
                host.state = "failed"
                host.reason = f"Loading the model {describe_exit(wait_status)}."
                return
        pause_s = host.backoff.pause_s(time.monotonic())
        host.state = "crash_looping" if pause_s else "starting"
        host.restarts += 1
        self._later(host, pause_s)

    def _later(self, host: _Host, pause_s: float) -> None:
        if self._hosts.get(host.spec.name) is host:
            host.timer = asyncio.get_running_loop().call_later(pause_s, self._spawn, host)

    def _socket_path(self, name: str) -> Path:
        return self._run_directory / f"{name}.sock"

    def _printed(self, name: str, lines: list[bytearray]) -> None:
        with contextlib.suppress(OSError):
            if (
                not self._log_path.exists()
                or self._log_path.stat().st_size < limits.PROCESS_LOG_BYTES_MAX
            ):
                prefix = name.encode() + b": "
                with self._log_path.open("ab") as file:
                    file.writelines(prefix + line[:_LINE_BYTES_MAX] + b"\n" for line in lines)


def _told(name: str, lines: list[bytearray], told: Callable[[dict[str, Any]], None]) -> None:
    """Pass on what a host says of itself, up to what makes no sense: a model's code wrote that."""
    try:
        for line in lines:
            told(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError):
        log.warning("host.nonsense name=%s", name)


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
