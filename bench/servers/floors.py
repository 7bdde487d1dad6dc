"""What a server is measured against: onnxruntime without a server, uvicorn without a platform."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.servers import tree
from bench.servers.server import Address, Machine, Running, free_port
from bench.servers.work import Work

FOLDER = Path(__file__).with_name("floor_apps")


@dataclass(frozen=True)
class BareUvicorn:
    """A plain ASGI application with the model inside, on uvloop and httptools.

    Attributes:
        app: Its module in floor_apps/.
    """

    name: str = "uvicorn"
    app: str = "asgi_app"
    family: str = "uvicorn"
    about: str = "plain ASGI, uvloop, httptools, orjson, model inline; no log, no token"

    def prepare(self, machine: Machine) -> None:
        """Do nothing: gnomon needs all of it too."""

    @contextlib.contextmanager
    def running(self, work: Work, machine: Machine, scratch: Path) -> Iterator[Running]:
        """Run one worker."""
        port = free_port()
        command = [
            *(sys.executable, "-P", "-m", "uvicorn", f"{self.app}:app", "--app-dir", str(FOLDER)),
            *("--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"),
            *("--http", "httptools", "--lifespan", "off", "--no-access-log"),
            *("--log-level", "warning"),
        ]
        address = Address(
            url=f"http://127.0.0.1:{port}/",
            body=work.tensor_body,
            number=lambda answer: answer["outputs"][0][0],
        )
        with tree.started(
            command,
            core=machine.server_core,
            log=scratch / "server.log",
            environment={"BENCH_MODEL": str(work.model)},
        ) as process:
            yield Running(address, process.poll)


SERVERS = [BareUvicorn()]
SESSION = "session"
SESSION_ABOUT = "InferenceSession.run in a loop, no server"


def bare_session(work: Work, machine: Machine, seconds: float) -> dict[str, Any]:
    """Run the model on the row again and again in a process of its own.

    Returns:
        runs, duration_s, p50_ms, p99_ms, max_ms, cpu_us (a run), rss_mb, wrong (runs).
    """
    done = subprocess.run(
        [
            *("taskset", "-c", str(machine.server_core), sys.executable, "-P"),
            *(str(FOLDER / "session_loop.py"), str(work.model), str(seconds)),
        ],
        input=json.dumps({"row": work.row, "expected": work.expected}),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    return dict(json.loads(done.stdout))
