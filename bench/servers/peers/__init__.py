"""Other servers: each a folder with its app, its pins, and an environment of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.servers import tree
from bench.servers.server import Address, Machine, Running, Unavailable, free_port
from bench.servers.work import Work

FOLDER = Path(__file__).parent
INSTALL_TIMEOUT_S = 900
BATCH = 64
PINS = ("requirements.txt", "constraints.txt")
_REASON_LINES = 3


@dataclass(frozen=True)
class Peer:
    """One product in one setting.

    Attributes:
        family: Name of its folder: app.py, requirements.txt (what is wanted), constraints.txt
            (the versions of everything, so that two runs install the same).
        command: Run in a copy of the folder; `{bin}` is the environment's, `{port}` and `{port2}`
            are free, `{scratch}` is thrown away afterwards.
        environment: Beside BENCH_MODEL, BENCH_PORT and BENCH_BATCH.
        batch: Most requests that it may put into one run; 1: batching is off.
        body: What is sent, for one row.
        number: Takes the model's number out of the answer.
    """

    name: str
    family: str
    about: str
    command: tuple[str, ...]
    path: str
    number: Callable[[Any], float]
    body: Callable[[Work], bytes] = lambda work: work.tensor_body
    environment: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1

    def prepare(self, machine: Machine) -> None:
        """Make the environment, once for each set of pins.

        Raises:
            Unavailable: pip failed.
        """
        place = self._place(machine)
        if not (place / "installed").exists():
            install(place, FOLDER / self.family)
            (place / "installed").touch()

    def _place(self, machine: Machine) -> Path:
        digest = hashlib.sha256(sys.version.encode())
        for name in PINS:
            digest.update((FOLDER / self.family / name).read_bytes())
        return machine.cache / f"{self.family}-{digest.hexdigest()[:12]}"

    @contextlib.contextmanager
    def running(self, work: Work, machine: Machine, scratch: Path) -> Iterator[Running]:
        """Run it in a copy of its folder."""
        folder = scratch / "app"
        shutil.copytree(FOLDER / self.family, folder)
        shutil.copy(FOLDER / "model.py", folder)
        port = free_port()
        places = {
            "bin": str(self._place(machine) / "bin"),
            "port": str(port),
            "port2": str(free_port()),
            "scratch": str(scratch),
        }
        environment = {
            "BENCH_MODEL": str(work.model),
            "BENCH_PORT": str(port),
            "BENCH_BATCH": str(self.batch),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(folder),
            "HOME": str(scratch),  # what it writes there goes with it
            **{name: value.format(**places) for name, value in self.environment.items()},
        }
        address = Address(
            url=f"http://127.0.0.1:{port}{self.path}", body=self.body(work), number=self.number
        )
        with tree.started(
            [part.format(**places) for part in self.command],
            core=machine.server_core,
            log=scratch / "server.log",
            environment=environment,
            directory=folder,
        ) as process:
            yield Running(address, process.poll)


def install(place: Path, folder: Path) -> None:
    """Make an environment from a peer's pins.

    Raises:
        Unavailable: pip failed.
    """
    print(f"installing {folder.name} into {place}", flush=True)
    requirements, constraints = (str(folder / name) for name in PINS)
    venv.create(place, clear=True, with_pip=True)
    command = [
        *(str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"),
        *("install", "--quiet", "--requirement", requirements, "--constraint", constraints),
    ]
    try:
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "ERROR" in line]
        raise Unavailable("pip: " + "\n".join(lines[-_REASON_LINES:])) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip took more than {INSTALL_TIMEOUT_S} s") from error


def _oip_body(work: Work) -> bytes:
    tensor = {"name": "tensor", "shape": [1, 29], "datatype": "FP32", "data": work.row}
    return json.dumps({"inputs": [tensor]}).encode()


def _first(answer: Any) -> float:
    return float(answer["outputs"][0][0])


def _mosec(name: str, about: str, batch: int) -> Peer:
    return Peer(
        name=name,
        family="mosec",
        about=about,
        command=(
            *("{bin}/python", "app.py", "--address", "127.0.0.1", "--port", "{port}"),
            *("--log-level", "warning", "--path", "{scratch}/mosec"),
        ),
        path="/inference",
        number=_first,
        batch=batch,
    )


def _mlserver(name: str, about: str, batch: int) -> Peer:
    batching = {
        "MLSERVER_MODEL_MAX_BATCH_SIZE": str(batch),
        "MLSERVER_MODEL_MAX_BATCH_TIME": "0.001",
    }
    return Peer(
        name=name,
        family="mlserver",
        about=about,
        command=("{bin}/mlserver", "start", "."),
        path="/v2/models/fraud/infer",
        body=_oip_body,
        number=lambda answer: answer["outputs"][0]["data"][0],
        environment={
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            **(batching if batch > 1 else {}),
        },
        batch=batch,
    )


def _litserve(name: str, about: str, batch: int) -> Peer:
    return Peer(
        name=name,
        family="litserve",
        about=about,
        command=("{bin}/python", "app.py"),
        path="/predict",
        number=_first,
        batch=batch,
    )


def _bentoml(name: str, about: str, batch: int) -> Peer:
    return Peer(
        name=name,
        family="bentoml",
        about=about,
        command=(
            *("{bin}/bentoml", "serve", "app:Fraud", "--host", "127.0.0.1", "--port", "{port}"),
            *("--timeout-keep-alive", "60"),
        ),
        path="/predict",
        number=lambda answer: answer[0][0],
        environment={"BENTOML_HOME": "{scratch}/bentoml", "BENTOML_DO_NOT_TRACK": "True"},
        batch=batch,
    )


def _ray(name: str, about: str, batch: int) -> Peer:
    return Peer(
        name=name,
        family="ray_serve",
        about=about,
        command=("{bin}/python", "app.py"),
        path="/",
        number=_first,
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": "{scratch}"},
        batch=batch,
    )


_KSERVE = Peer(
    name="kserve",
    family="kserve",
    about="Python server, V1 protocol, one worker",
    command=("{bin}/python", "app.py", "--http_port", "{port}", "--enable_grpc", "false"),
    path="/v1/models/fraud:predict",
    body=lambda work: json.dumps({"instances": [work.row]}).encode(),
    number=lambda answer: answer["predictions"][0][0],
)

SERVERS = [
    _mosec("mosec", "one worker, batches up to 64, 1 ms", BATCH),
    _mosec("mosec-single", "one worker, batching off", 1),
    _mlserver("mlserver", "in-process, no metrics, no gzip, batching off", 1),
    _mlserver(
        "mlserver-batch", "in-process, no metrics, no gzip, adaptive batches up to 64, 1 ms", BATCH
    ),
    _litserve("litserve", "one worker, fast queue, batching off", 1),
    _litserve("litserve-batch", "one worker, fast queue, batches up to 64, 1 ms", BATCH),
    _bentoml("bentoml", "one worker, no access log, no metrics, batching off", 1),
    _bentoml(
        "bentoml-batch", "one worker, no access log, no metrics, adaptive batches up to 64", BATCH
    ),
    _KSERVE,
    _ray("ray-serve", "one replica, batching off", 1),
    _ray("ray-serve-batch", "one replica, batches up to 64, 1 ms", BATCH),
]
