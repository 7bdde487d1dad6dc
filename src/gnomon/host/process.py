"""What a fork of the nursery becomes: a process with limits, a lifeline and a watchdog."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gnomon.core import limits
from gnomon.core.model import Signature
from gnomon.core.resources import Resources
from gnomon.host.watchdog import Stoppable, Watchdog

PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38
EXIT_DONE, EXIT_REFUSED, EXIT_FAULT = 0, 3, 72
_GC_THRESHOLD = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOrder:
    """What the supervisor asks the nursery to fork.

    Attributes:
        mode: "serve" frames, or "probe" a file once.
        version_uuid: Sent in HELLO, so that a front knows whom it talks to.
        threads: That work on one run together.
        memory_bytes: RLIMIT_AS, without the buffers that fronts share with it.
        cpu_s: RLIMIT_CPU in seconds; None: no limit.
        nice: Added to the niceness.
        declared: What a Python model was said to take and give; None: it is an ONNX model.
    """

    name: str
    mode: str
    model_path: str
    version_uuid: str
    threads: int
    memory_bytes: int
    cpu_s: int | None
    nice: int
    empty_directory: str
    declared: Signature | None = None

    def to_bytes(self) -> bytes:
        """Return the order as one message."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        if self.declared is not None:
            facts["declared"] = self.declared.to_json()
        return json.dumps(facts).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> HostOrder:
        """Read what `to_bytes` wrote."""
        facts = json.loads(message)
        if facts["declared"] is not None:
            facts["declared"] = Signature.from_json(facts["declared"])
        return cls(**facts)


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The descriptors a host is born with, beside its lifeline."""

    listener: int
    status: int
    stderr: int


class Work(Stoppable, Protocol):
    """What the host's worker thread does."""

    def run(self, watchdog: Watchdog) -> int:
        """Do the work, telling the watchdog of each run; return the exit code."""

    def drain(self) -> None:
        """Take no new connections and end when the last one closes."""


def memory_limit(model_bytes: int, resources: Resources) -> int:
    """Return how much a host may use, in bytes.

    Args:
        model_bytes: Size of the model file, from which it follows if nothing was asked for.
    """
    if resources.memory_mib is None:
        model = max(
            limits.HOST_MEMORY_MODEL_MIN_BYTES, limits.HOST_MEMORY_MODEL_FACTOR * model_bytes
        )
    else:
        model = resources.memory_mib * limits.MIB
    threads = (resources.threads - 1) * limits.HOST_THREAD_BYTES
    return limits.HOST_MEMORY_BASE_BYTES + limits.HOST_STACK_BYTES + threads + model


def become(
    order: HostOrder,
    descriptors: Descriptors,
    lifeline: int,
    make_work: Callable[[HostOrder, Descriptors], Work],
) -> None:
    """Turn this fork into a host and work until the end; never returns.

    The work runs in a thread with a stack of 256 MiB, because ONNX Runtime recurses over a
    model's trees; this thread watches the lifeline and the deadlines. Leaving by `os._exit`
    only: exit handlers belong to the nursery.
    """
    _confine(order, descriptors)
    gc.set_threshold(_GC_THRESHOLD)  # runs leave no cycles behind
    work = make_work(order, descriptors)
    signal.signal(signal.SIGTERM, lambda *_: work.drain())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.stack_size(limits.HOST_STACK_BYTES)
    watchdog = _watchdog(order, lifeline)
    threading.Thread(target=_work, args=(work, watchdog), daemon=True).start()
    watchdog.watch(work)


def _confine(order: HostOrder, descriptors: Descriptors) -> None:
    # A group of its own, but not a session: Linux shares the processor out between sessions first
    # (autogroup), and in a session of its own a challenger's niceness would count for nothing.
    os.setpgid(0, 0)
    os.chdir(order.empty_directory)
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(descriptors.stderr, 1)
    os.dup2(descriptors.stderr, 2)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_NAME, order.name.encode()[:15], 0, 0, 0)
    if order.nice:
        os.nice(order.nice)
        # Waking up, it does not interrupt who is running.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, limits.HOST_FILES_MAX),
        (resource.RLIMIT_CPU, order.cpu_s),
    ):
        if value is not None:
            resource.setrlimit(limit, (value, value))
    # The soft limit follows the buffers that are mapped, see `buffers`.
    buffers = 2 * limits.FRAME_BYTES_MAX * limits.HOST_FRONTS_MAX
    memory = order.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory + buffers))


def _watchdog(order: HostOrder, lifeline: int) -> Watchdog:
    if order.declared is None:
        return Watchdog(lifeline)
    from gnomon.host.python_watchdog import PythonWatchdog

    return PythonWatchdog(lifeline)


def _work(work: Work, watchdog: Watchdog) -> None:
    try:
        code = work.run(watchdog)
    except BaseException as error:
        # Whatever it was, this process is of no use any more; its parent starts another.
        with contextlib.suppress(OSError):
            os.write(2, f"host fault: {type(error).__name__}: {error}\n".encode())
        code = EXIT_FAULT
    os._exit(code)


def report(descriptor: int, **facts: Any) -> None:
    """Tell the supervisor something: one JSON line on the status pipe."""
    message = json.dumps(facts).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):
        while message:
            message = message[os.write(descriptor, message) :]
