"""The processes of a server: started on one core, counted, stopped, none forgotten."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_STOP_TIMEOUT_S = 15.0
_LINES_SHOWN = 8


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ends, so that none leaves the tree."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def tree() -> list[psutil.Process]:
    """Return all descendants of this process: while no wrk runs, those of the server."""
    return psutil.Process().children(recursive=True)


def cpu_s() -> float:
    """Return the CPU seconds of the tree so far, those of its ended processes included."""
    total = 0.0
    for process in tree():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb() -> tuple[float, float]:
    """Return RSS, where shared pages count in each process, and PSS, where they count once."""
    rss = pss = 0
    for process in tree():
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            rss, pss = rss + memory.rss, pss + memory.pss
    return rss / 1e6, pss / 1e6


def cores_busy_s(cores: Iterable[int]) -> float:
    """Return the seconds that all processes have run on some cores, and that were stolen from them.

    Interrupts are left out: they are nobody's.
    """
    each = psutil.cpu_times(percpu=True)
    times = [each[core] for core in cores]
    return float(sum(t.user + t.nice + t.system + t.steal for t in times))


def pin(cores: Iterable[int]) -> None:
    """Keep every thread of the tree on some cores, whatever it chose itself."""
    wanted = set(cores)
    for process in tree():
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{process.pid}/task"):
                os.sched_setaffinity(int(task), wanted)


@contextlib.contextmanager
def started(
    command: Sequence[str],
    *,
    core: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on one core; afterwards stop all it started.

    Args:
        log: Its output goes there.
        environment: Beside this process's own.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
            cwd=directory,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program gently, then whatever is left of the tree at once."""
    family = tree()
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)
    for left in {*family, *tree()}:
        with contextlib.suppress(psutil.Error):
            left.kill()
    psutil.wait_procs([left for left in family if left.pid != process.pid], timeout=5.0)
    process.wait(_STOP_TIMEOUT_S)


def last_lines(log: Path) -> str:
    """Return the end of a program's output."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_LINES_SHOWN:]) or "(it printed nothing)"
