"""What the processes of a server use, and how fast that grows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from bench.servers import tree


@dataclass(frozen=True)
class Usage:
    """The whole server at one moment.

    Attributes:
        at: Seconds, monotonic clock.
        rss_mb: Of all processes.
        files: Open descriptors.
    """

    at: float
    rss_mb: float
    files: int
    threads: int
    processes: int

    @classmethod
    def now(cls) -> Usage:
        """Look."""
        files = threads = 0
        family = tree.tree()
        for process in family:
            with contextlib.suppress(psutil.Error):
                files += process.num_fds()
                threads += process.num_threads()
        rss_mb, _ = tree.memory_mb()
        return cls(time.monotonic(), rss_mb, files, threads, len(family))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much y grows with x: the line that fits best."""
    if len(points) < 2:
        return 0.0
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[0])
