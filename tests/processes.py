"""Which processes still work. One that only waits to be reaped by its parent does not."""

from __future__ import annotations

import psutil


def works(process: psutil.Process | int) -> bool:
    """Say whether a process is there and is no zombie."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
