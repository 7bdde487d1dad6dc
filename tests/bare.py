"""A supervisor with a nursery and nothing else, and a front in a thread, over one directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from gnomon.front.app import Front
from gnomon.http_access import allowed_hosts
from gnomon.testing import ListLog

PROGRAM = Path(__file__).with_name("supervisor") / "bare_supervisor.py"


@contextlib.contextmanager
def supervisor(
    directory: Path, *options: str, probe_timeout_s: float = 3.0
) -> Iterator[subprocess.Popen]:
    """Run a supervisor whose sockets are in `directory`/run, as a program of its own."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory), str(probe_timeout_s), *options],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield process
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=20)
    finally:
        process.kill()


@contextlib.contextmanager
def front(run_directory: Path, orders: Path) -> Iterator[str]:
    """Run a front in a thread; give its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    ready, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        made = Front(
            hosts_directory=run_directory,
            log=ListLog(),
            allowed_hosts=allowed_hosts([port]),
            version="test",
        )
        await made.listen(listener, orders)
        ready.set()
        await over.wait()
        await made.stop(timeout_s=1.0)

    def run() -> None:
        with runner:  # which ends the conversations that are left
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{port}"
    loop.call_soon_threadsafe(over.set)
    thread.join(10)
