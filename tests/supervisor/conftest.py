import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from gnomon import unix_sockets
from gnomon.core.deployment import HostSpec, HostStatus
from gnomon.core.frames import HEADER, Frame, Kind, body_size, decode, encode
from gnomon.core.model import Signature
from gnomon.core.resources import USUAL, Resources
from gnomon.supervisor.client import SupervisorClient
from tests.bare import supervisor
from tests.waiting import until

PROBE_TIMEOUT_S = 3.0


class Line:
    """A front's connection to one host, blocking."""

    def __init__(self, path: Path) -> None:
        self.socket = unix_sockets.connect(path, timeout_s=20.0)
        self._bytes = self.socket.makefile("rb")

    def read(self) -> Frame | None:
        header = self._bytes.read(HEADER.size)
        if not header:
            return None
        frame, _ = decode(header + self._bytes.read(body_size(header)))
        return frame

    def send(self, *tensors, request: int = 1, deadline_ms: int = 5_000) -> None:
        deadline_ns = time.monotonic_ns() + deadline_ms * 1_000_000
        self.socket.sendall(encode(Frame(Kind.RUN, request, deadline_ns, tensors)))

    def run(self, *tensors, deadline_ms: int = 5_000) -> Frame | None:
        self.send(*tensors, deadline_ms=deadline_ms)
        return self.read()


@dataclass
class Bare:
    """A supervisor with a nursery and nothing else."""

    process: subprocess.Popen
    directory: Path

    @property
    def client(self) -> SupervisorClient:
        return SupervisorClient(self.directory / "run" / "supervisor.sock")

    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def save(self, content: bytes, name: str = "model") -> Path:
        path = self.directory / f"{name}.onnx"
        path.write_bytes(content)
        return path

    def start(
        self,
        content: bytes,
        name: str = "host",
        role: str = "champion",
        resources: Resources = USUAL,
        declared: Signature | None = None,
    ) -> HostSpec:
        path = self.save(content, name)
        spec = HostSpec(
            name=name,
            model_path=str(path),
            sha256="0" * 64,
            version_uuid=f"uuid-of-{name}",
            role=role,
            model_bytes=len(content),
            resources=resources,
            declared=declared,
        )
        self.client.start_host(spec)
        return spec

    def status(self, name: str = "host") -> HostStatus | None:
        return next((host for host in self.client.hosts() if host.name == name), None)

    def when(self, state: str, name: str = "host", *, other_than: int = 0) -> HostStatus:
        def there() -> HostStatus | None:
            status = self.status(name)
            assert status is not None
            return status if status.state == state and status.pid != other_than else None

        return until(there, within_s=20.0)

    def connect(self, name: str = "host") -> Line:
        line = Line(self.directory / "run" / f"{name}.sock")
        hello = line.read()
        assert hello is not None
        assert (hello.kind, hello.text) == (Kind.HELLO, f"uuid-of-{name}")
        return line


@contextlib.contextmanager
def _bare(tmp_path: Path, *options: str) -> Iterator[Bare]:
    # Deep enough that a socket's path is longer than the 107 bytes the kernel takes.
    directory = tmp_path / ("a rather long name with spaces " * 4)
    directory.mkdir()
    with supervisor(directory, *options, probe_timeout_s=PROBE_TIMEOUT_S) as process:
        yield Bare(process, directory)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    with _bare(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """One that runs Python models, for all tests of a module."""
    with _bare(tmp_path_factory.mktemp("python"), "--allow-python-models") as made:
        yield made
