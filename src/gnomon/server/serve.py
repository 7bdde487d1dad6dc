"""The supervisor's side: ports, token, files, and what the children are started with."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from gnomon import settings
from gnomon.core import limits
from gnomon.core.errors import Conflict, Invalid, ServerError
from gnomon.server.backup import check_metadata
from gnomon.server.children import LOG_FORMAT
from gnomon.server.files import (
    ensure_token,
    front_names,
    remember_ports,
    remembered_ports,
    say_where,
    set_old_log_aside,
)
from gnomon.settings import Home, child_environment
from gnomon.supervisor.children import Child
from gnomon.supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
CONTROL_PORT, FRONT_PORT = 8080, 8081
ALLOW_PYTHON_MODELS = "--allow-python-models"
_LINES_SHOWN = 12

# All that a process which runs models inherits. The threads must be bounded before numpy and
# onnxruntime are imported: a nursery with threads cannot fork.
NURSERY_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}

# Read by the libraries of the flusher when they are loaded. Left alone they start threads by the
# number of cores, each with memory that it keeps: much for a process that writes now and then.
FLUSHER_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # of libc, which can give all back that is free
    "_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:0",  # the allocator in deltalake
    "TOKIO_WORKER_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What `gnomon serve` may be told.

    Attributes:
        host: Address to bind; loopback only.
        control_port: Of the control plane; None: the remembered one, 8080, or a free one.
        front_port: Of the fronts; None: the remembered one, 8081, or a free one.
        fronts: How many processes answer inference; None: $GNOMON_FRONTS, or 1.
        open_inference: Inference needs no token.
        allow_python_models: Run Python models too; or $GNOMON_ALLOW_PYTHON_MODELS is 1.
        probe_timeout_s: How long an uploaded model may take to load and run once.
    """

    host: str = LOOPBACK
    control_port: int | None = None
    front_port: int | None = None
    fronts: int | None = None
    open_inference: bool = False
    allow_python_models: bool = False
    probe_timeout_s: float = limits.PROBE_TIMEOUT_S


def serve(home: Home, options: ServeOptions) -> int:
    """Run a server until SIGTERM or SIGINT; return the exit code.

    Raises:
        Invalid: The address is not loopback, or a number or a setting is not possible.
        Conflict: Another server runs in this home, or a port that was asked for is taken.
        ServerError: The metadata is damaged.
    """
    fronts = _checked(options)
    if settings.allow_python_models():
        options = replace(options, allow_python_models=True)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    if options.allow_python_models:
        log.warning("server.python_models: whoever may upload a model may run code here")
    os.umask(0o077)
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.root.chmod(0o700)  # it may have been made by somebody with other habits
    with home.server_lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"A gnomon server runs in {home.root} already: 'gnomon status' shows it, "
                "'gnomon down' ends it."
            ) from None
        check_metadata(home)
        for directory in (home.artifacts, home.inference_log, home.logs):
            directory.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(home.run, ignore_errors=True)  # sockets of a server that was killed
        home.run.mkdir(mode=0o700)
        home.server_file.unlink(missing_ok=True)
        ensure_token(home)
        set_old_log_aside(home)
        control, front = _bind_ports(home, options)
        with control, front:
            return asyncio.run(_Server(home, options, control, front, fronts).run())


def _checked(options: ServeOptions) -> int:
    """Return how many fronts there are to be."""
    if options.host not in (LOOPBACK, "localhost", "::1"):
        raise Invalid(
            f"gnomon serves on loopback only, not on {options.host!r}: it has no TLS yet, and a "
            "token must not cross a network in the clear. Put a TLS proxy in front of it."
        )
    fronts = settings.fronts() if options.fronts is None else options.fronts
    if not 1 <= fronts <= limits.FRONTS_MAX:
        raise Invalid(f"{fronts} fronts were asked for; 1 to {limits.FRONTS_MAX} are possible.")
    return fronts


def _bind_ports(home: Home, options: ServeOptions) -> tuple[socket.socket, socket.socket]:
    """Bind both ports: those asked for, else those of last time, else 8080 and 8081, else free."""
    remembered = remembered_ports(home)
    control = _bind(options.host, options.control_port, remembered.get("control", CONTROL_PORT))
    front = _bind(options.host, options.front_port, remembered.get("front", FRONT_PORT))
    remember_ports(home, control=control.getsockname()[1], front=front.getsockname()[1])
    return control, front


def _bind(host: str, wanted: int | None, usual: int) -> socket.socket:
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    for port in (usual, 0) if wanted is None else (wanted,):
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            bound.listen(limits.LISTEN_BACKLOG)
        except OSError:
            bound.close()
            continue
        bound.setblocking(False)
        return bound
    raise Conflict(f"Port {wanted} on {host} is taken; choose another or let gnomon choose.")


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def nursery_command(
    orders: int, lifeline: int, *, allow_python_models: bool = False
) -> tuple[Sequence[str], dict[str, str]]:
    """Return the nursery's command and environment; -I: nothing of this one's gets in."""
    command = [sys.executable, "-I", "-m", "gnomon.host.nursery", str(orders), str(lifeline)]
    return command + [ALLOW_PYTHON_MODELS] * allow_python_models, NURSERY_ENVIRONMENT


class _Server:
    """The supervisor, and how its children are started."""

    def __init__(
        self,
        home: Home,
        options: ServeOptions,
        control: socket.socket,
        front: socket.socket,
        fronts: int,
    ) -> None:
        self._home = home
        self._options = options
        self._supervisor = Supervisor(
            run_directory=home.run,
            log_directory=home.logs,
            nursery_command=partial(
                nursery_command, allow_python_models=options.allow_python_models
            ),
            probe_timeout_s=options.probe_timeout_s,
        )
        self._urls = {"control_url": _url(control), "front_url": _url(front)}
        self._ports = (control, front)
        count = ("--fronts", str(fronts))
        python = [ALLOW_PYTHON_MODELS] * options.allow_python_models
        self._children = [
            *(
                self._child("front", name, front, *count, "--index", str(index))
                for index, name in enumerate(front_names(fronts))
            ),
            self._child("control", "control", control, *count, *python),
            self._child("flusher", "flusher", None, *count, **FLUSHER_ENVIRONMENT),
        ]

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code.

        Raises:
            ServerError: It did not start.
        """
        try:
            code = await self._supervisor.run(self._children, self._say_started, self._close_ports)
        finally:
            self._home.server_file.unlink(missing_ok=True)
        if code:
            failed = next((child for child in self._children if child.restarts), None)
            raise ServerError(
                f"The server did not start; its logs are in {self._home.logs}."
                if failed is None
                else f"The server did not start, because its process {failed.name!r} ended. "
                f"The end of {failed.log_path}:\n{_last_lines(failed.log_path)}"
            )
        return code

    def _child(
        self,
        role: str,
        name: str,
        listener: socket.socket | None,
        *more: str,
        **environment: str,
    ) -> Child:
        ready_read, ready_write = os.pipe()
        listening = (listener.fileno(),) if listener else ()
        descriptors = (*listening, self._supervisor.lifeline, ready_write)
        command = [
            *(sys.executable, "-m", "gnomon.server", role),
            *("--home", str(self._home.root)),
            *("--descriptors", ",".join(map(str, descriptors))),
            *("--control-url", self._urls["control_url"], "--front-url", self._urls["front_url"]),
            *(["--open-inference"] if self._options.open_inference else []),
            *more,
        ]
        return Child(
            name=name,
            prepare=lambda: (command, child_environment(**environment), descriptors),
            ready=ready_read,
            log_path=self._home.logs / f"{name}.log",
        )

    def _close_ports(self) -> None:
        """Leave the ports to the children: once they listen no more, callers are refused at once.

        A connection that nobody will accept would keep its caller waiting until the very end.
        """
        for port in self._ports:
            port.close()

    def _say_started(self) -> None:
        say_where(self._home, self._urls)
        control_url = self._urls["control_url"]
        print(f"gnomon {version('gnomon')} serves at {control_url}", flush=True)


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LINES_SHOWN:])
