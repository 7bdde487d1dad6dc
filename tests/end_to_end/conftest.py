"""A real server in a home of its own, and the tutorial's files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import urllib3

import gnomon
from gnomon.front.client import FrontClient
from tests.waiting import until

TUTORIAL = Path(__file__).parents[3] / "shared" / "tutorial"


@pytest.fixture(scope="session")
def tutorial() -> Path:
    if not TUTORIAL.is_dir():
        pytest.skip(f"the tutorial's models and inputs are not at {TUTORIAL}")
    return TUTORIAL


@dataclass
class Server:
    """`gnomon serve` as a user would run it.

    Attributes:
        limits: Bounds of `core.limits` that are others in the supervisor.
    """

    home: Path
    options: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    facts: dict = field(default_factory=dict)

    def start(self) -> None:
        # At ports of its own, which it keeps: those that are usual may be taken by another test
        # while this server is down.
        ports = () if self.process else ("--control-port", "0", "--front-port", "0")
        with (self.home / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self._program(), "serve", *ports, *self.options],
                env={**os.environ, "GNOMON_HOME": str(self.home)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        file = self.home / "server.json"

        def is_there() -> bool:
            assert self.process.poll() is None, (self.home / "output.log").read_text()
            return file.exists() and json.loads(file.read_text())["pid"] == self.process.pid

        until(is_there, within_s=20.0)
        self.facts = json.loads(file.read_text())

    def _program(self) -> list[str]:
        if not self.limits:
            return ["-m", "gnomon"]
        changes = "".join(f"limits.{name} = {value}; " for name, value in self.limits.items())
        return [
            "-c",
            f"from gnomon.core import limits; {changes}from gnomon.cli import main; main()",
        ]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=40)
        finally:
            self.process.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self) -> gnomon.Client:
        return gnomon.Client(self.facts["control_url"], token=self.token)

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def pids(self, within_s: float = 10.0) -> dict[str, int | None]:
        """Return the pid of each process, the hosts by their model's label.

        Args:
            within_s: Seconds in which the control plane must answer.
        """

        def status() -> dict | None:
            try:
                return self.get("/v1/server").json()
            except urllib3.exceptions.HTTPError:
                return None  # the control plane is just starting again

        answered = until(status, within_s=within_s)
        pids = {process["name"]: process["pid"] for process in answered["processes"]}
        for deployment in answered["deployments"]:
            pids.update({model["label"]: model["pid"] for model in deployment["models"]})
        return pids

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request(
            "GET",
            self.facts["control_url"] + path,
            headers={"Authorization": f"Bearer {self.token}"},
            retries=False,
            timeout=10.0,
        )

    def post(self, url: str, body: bytes | dict, **headers: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request(
            "POST",
            url,
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            retries=False,
            timeout=20.0,
        )

    def front_stats(self) -> list[dict]:
        """Return what each front counts."""
        sockets = sorted((self.home / "run").glob("front-*.sock"))
        return [FrontClient(socket).stats() for socket in sockets]

    def runs(self, label: str) -> Counter[str]:
        """Return the runs of a model by status, over all fronts and deployments."""
        total: Counter[str] = Counter()
        for stats in self.front_stats():
            for labels in stats["models"].values():
                counts = labels.get(label, {})
                total.update({k: n for k, n in counts.items() if type(n) is int})
        return total

    def waiting(self, label: str) -> int:
        """Return how many runs of a model are under way."""
        return self.runs(label)["pending"]


def running(home: Path, *options: str) -> Iterator[Server]:
    home.mkdir(mode=0o700)
    server = Server(home, options)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    yield from running(tmp_path / "home")


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a module, which use names of their own."""
    yield from running(tmp_path_factory.mktemp("server") / "home", "--probe-timeout-s", "4")
