"""What the processes of a server use, and how fast that grows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from bench.servers import tree


@dataclass(frozen=True)
class Usage:
    """The whole server at one moment.

    Attributes:
        at: Seconds, monotonic clock.
        rss_mb: Of each process, by its pid.
        files: Open descriptors.
    """

    at: float
    rss_mb: Mapping[int, float]
    files: int
    threads: int

    @classmethod
    def now(cls) -> Usage:
        """Look."""
        rss_mb: dict[int, float] = {}
        files = threads = 0
        for process in tree.tree():
            with contextlib.suppress(psutil.Error):
                rss_mb[process.pid] = process.memory_info().rss / 1e6
                files += process.num_fds()
                threads += process.num_threads()
        return cls(time.monotonic(), rss_mb, files, threads)

    @property
    def processes(self) -> int:
        """How many there are."""
        return len(self.rss_mb)

    def __str__(self) -> str:
        megabytes = sum(self.rss_mb.values())
        each = f"{self.files} files, {self.threads} threads"
        return f"{self.processes} processes, {megabytes:.0f} MB, {each}"


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much y grows with x: the line that fits best."""
    if len(points) < 2:
        return 0.0
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[0])


def growth(usages: Sequence[Usage], names: Mapping[int, str]) -> dict[str, float]:
    """Return how many MB a minute each process grows that is there all the time, and all together.

    Args:
        names: Of processes, by pid; one without a name is left out.
    """
    found = {
        name: slope([(usage.at / 60, usage.rss_mb[pid]) for usage in usages])
        for pid, name in names.items()
        if all(pid in usage.rss_mb for usage in usages)
    }
    together = [(usage.at / 60, sum(usage.rss_mb.values())) for usage in usages]
    return {**found, "all together": slope(together)}
