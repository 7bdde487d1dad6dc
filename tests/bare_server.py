"""A whole server of a test's own, and a client of it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import gnomon
from gnomon.sdk import local
from gnomon.settings import Home
from tests.processes import works
from tests.waiting import until


@contextlib.contextmanager
def serving(home: Path) -> Iterator[gnomon.Client]:
    """Start a server as a client does, and end it."""
    client = gnomon.Client(home=home, interactive=False)
    pid = local.read(Home(home)).pid
    try:
        yield client
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not works(pid), within_s=30.0)
