"""The children's side: what a front, the control plane and the flusher are made of.

Heavy libraries are imported where they are used: neither process loads the other's.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon import settings
from gnomon.core import limits
from gnomon.core.access import token_hash
from gnomon.http_access import allowed_hosts
from gnomon.server.files import ensure_token, front_names
from gnomon.settings import Home

if TYPE_CHECKING:
    from gnomon.control.plane import ControlPlane

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_EXIT_LIFELINE = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """What the supervisor told this process.

    Attributes:
        listener: The flusher has none.
        index: Which of the fronts this is.
        fronts: How many there are.
    """

    home: Home
    listener: socket.socket | None
    lifeline: int
    ready: int
    control_url: str
    front_url: str
    open_inference: bool
    allow_python_models: bool
    index: int
    fronts: int

    def tell_ready(self) -> None:
        os.write(self.ready, b"r")

    def end_with_supervisor(self, last: Callable[[], object] = lambda: None) -> None:
        """End this process when the supervisor is gone, whatever else it is doing.

        Args:
            last: Called before, from another thread; must be quick.
        """

        def wait() -> None:
            os.read(self.lifeline, 1)
            last()
            os._exit(_EXIT_LIFELINE)

        threading.Thread(target=wait, name="lifeline", daemon=True).start()

    def allowed_hosts(self) -> frozenset[str]:
        ports = (int(url.rpartition(":")[2]) for url in (self.control_url, self.front_url))
        return allowed_hosts(ports)


def main(arguments: Sequence[str] | None = None) -> None:
    """Be a front, the control plane or the flusher, as the supervisor said."""
    parser = argparse.ArgumentParser(prog="gnomon.server")
    parser.add_argument("role", choices=sorted(_ROLES))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--descriptors", required=True)
    parser.add_argument("--control-url", required=True)
    parser.add_argument("--front-url", required=True)
    parser.add_argument("--open-inference", action="store_true")
    parser.add_argument("--allow-python-models", action="store_true")
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--fronts", type=int, default=1)
    parsed = parser.parse_args(arguments)
    *listener, lifeline, ready = map(int, parsed.descriptors.split(","))
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    sys.meta_path.insert(0, _NoPandas())
    child = _Child(
        home=Home(parsed.home),
        listener=socket.socket(fileno=listener[0]) if listener else None,
        lifeline=lifeline,
        ready=ready,
        control_url=parsed.control_url,
        front_url=parsed.front_url,
        open_inference=parsed.open_inference,
        allow_python_models=parsed.allow_python_models,
        index=parsed.index,
        fronts=parsed.fronts,
    )
    _ROLES[parsed.role](child)


class _NoPandas(MetaPathFinder):
    """Makes the import of pandas fail.

    pyarrow imports it with its first array, where it is installed, which would stop a front for a
    second; without it pyarrow does as well.
    """

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("a server does without pandas", name=fullname)


def _front(child: _Child) -> None:
    # The log encodes in a thread; the loop gets the interpreter back after 1 ms instead of 5.
    sys.setswitchinterval(0.001)
    _raise_files_max()
    import uvloop

    from gnomon.front import app
    from gnomon.front.accepting import Share
    from gnomon.log.writer import LogWriter
    from gnomon.supervisor.client import SupervisorClient

    assert child.listener is not None
    share = None
    if child.fronts > 1:
        share = Share(child.home.connections_file, index=child.index, fronts=child.fronts)
    log = LogWriter(child.home.write_ahead(child.index))
    child.end_with_supervisor(lambda: log.commit(limits.LOG_LAST_COMMIT_S))
    try:
        uvloop.run(
            app.run(
                child.index,
                tcp_socket=child.listener,
                order_socket_path=child.home.front_socket(child.index),
                hosts_directory=child.home.run,
                routing_file=child.home.routing_file,
                log=log,
                allowed_hosts=child.allowed_hosts(),
                version=version("gnomon"),
                replace_host=SupervisorClient(child.home.supervisor_socket).replace_host,
                counts_file=child.home.counts_file(child.index),
                on_ready=child.tell_ready,
                share=share,
            )
        )
    finally:
        log.close()


def _raise_files_max() -> None:
    """Use as many descriptors as this process may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _plane(child: _Child) -> ControlPlane:
    from gnomon.backends.local import LocalBackend
    from gnomon.control.plane import ControlPlane
    from gnomon.front.client import FrontClient
    from gnomon.supervisor.client import SupervisorClient

    home = child.home
    backend = LocalBackend(
        SupervisorClient(home.supervisor_socket),
        {
            name: FrontClient(home.front_socket(index))
            for index, name in enumerate(front_names(child.fronts))
        },
        home.routing_file,
    )
    return ControlPlane.open(
        database=home.database,
        artifacts=home.artifacts,
        inference_log=home.inference_log,
        backend=backend,
        token_hash=token_hash(home.token_file.read_text().strip()),
        front_url=child.front_url,
        open_inference=child.open_inference,
        allow_python_models=child.allow_python_models,
    )


def _control(child: _Child) -> None:
    import uvicorn

    from gnomon.api.app import create_app
    from gnomon.api.server import ServerIdentity
    from gnomon.log.reader import read

    assert child.listener is not None
    child.end_with_supervisor()
    home = child.home
    ensure_token(home)  # its file may have been removed since the start
    plane = _plane(child)
    identity = ServerIdentity(
        version=version("gnomon"),
        control_url=child.control_url,
        front_url=child.front_url,
        home=str(home.root),
        pid=os.getppid(),
    )
    app = create_app(
        plane,
        identity=identity,
        read_logs=read,
        log_directory=home.inference_log,
        allowed_hosts=child.allowed_hosts(),
    )
    config = uvicorn.Config(
        app,
        access_log=False,
        lifespan="off",
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(limits.CONTROL_DRAIN_TIMEOUT_S),
    )
    server = uvicorn.Server(config)
    # Before uvicorn has a handler of its own a signal would be lost; and it raises the one that
    # stopped it again, which by default would end the process before the database is closed.
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    plane.start()
    child.tell_ready()  # the socket listens already: who connects now is answered in a moment
    try:
        server.run(sockets=[child.listener])
    finally:
        plane.close()


def _flusher(child: _Child) -> None:
    from gnomon.log import flusher

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    child.end_with_supervisor()
    # Nobody waits for it: like a challenger it takes what champions and fronts leave.
    os.nice(limits.FLUSHER_NICE)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    keep = flusher.Keep(
        seconds=settings.log_days() * 86_400.0, bytes=int(settings.log_gigabytes() * limits.GIB)
    )
    _end_former_fronts(child)
    child.tell_ready()
    flusher.run(child.home.inference_log, stop, keep)


def _end_former_fronts(child: _Child) -> None:
    """Begin another life of the logs of fronts that there are no more: what is open there is lost.

    A front that is there does so itself when it starts.
    """
    from gnomon.log.write_ahead import WriteAhead

    for index in range(child.fronts, limits.FRONTS_MAX):
        path = child.home.write_ahead(index)
        if path.exists():
            try:
                WriteAhead(path).close()
            except (sqlite3.Error, OSError) as error:
                logging.warning("log.not_ended file=%s error=%s", path.name, error)


_ROLES = {"front": _front, "control": _control, "flusher": _flusher}
