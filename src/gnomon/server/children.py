"""The children's side: what a front and the control plane are made of.

Heavy libraries are imported where they are used: neither process loads the other's.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from gnomon.core import limits
from gnomon.core.access import token_hash
from gnomon.http_access import allowed_hosts
from gnomon.server.files import ensure_token
from gnomon.settings import Home

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_EXIT_LIFELINE = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    home: Home
    listener: socket.socket
    lifeline: int
    ready: int
    control_url: str
    front_url: str
    open_inference: bool

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
    """Be a front or the control plane, as the supervisor said."""
    parser = argparse.ArgumentParser(prog="gnomon.server")
    parser.add_argument("role", choices=["front", "control"])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--descriptors", required=True)
    parser.add_argument("--control-url", required=True)
    parser.add_argument("--front-url", required=True)
    parser.add_argument("--open-inference", action="store_true")
    parsed = parser.parse_args(arguments)
    listener, lifeline, ready = map(int, parsed.descriptors.split(","))
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    # pyarrow imports pandas with its first array, which would stop a front for a second. Here it
    # cannot: None makes the import fail, and pyarrow does without.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    child = _Child(
        home=Home(parsed.home),
        listener=socket.socket(fileno=listener),
        lifeline=lifeline,
        ready=ready,
        control_url=parsed.control_url,
        front_url=parsed.front_url,
        open_inference=parsed.open_inference,
    )
    (_front if parsed.role == "front" else _control)(child)


def _front(child: _Child) -> None:
    # The log encodes in a thread; the loop gets the interpreter back after 1 ms instead of 5.
    sys.setswitchinterval(0.001)
    import uvloop

    from gnomon.front import app
    from gnomon.log.writer import LogWriter
    from gnomon.supervisor.client import SupervisorClient

    log = LogWriter(child.home.write_ahead(0))
    child.end_with_supervisor(lambda: log.commit(limits.LOG_LAST_COMMIT_S))
    try:
        uvloop.run(
            app.run(
                0,
                tcp_socket=child.listener,
                order_socket_path=child.home.front_socket(0),
                hosts_directory=child.home.run,
                routing_file=child.home.routing_file,
                log=log,
                allowed_hosts=child.allowed_hosts(),
                version=version("gnomon"),
                replace_host=SupervisorClient(child.home.supervisor_socket).replace_host,
                on_ready=child.tell_ready,
            )
        )
    finally:
        log.close()


def _control(child: _Child) -> None:
    import uvicorn

    from gnomon.api.app import create_app
    from gnomon.api.server import ServerIdentity
    from gnomon.backends.local import LocalBackend
    from gnomon.control.plane import ControlPlane
    from gnomon.front.client import FrontClient
    from gnomon.log.reader import read
    from gnomon.supervisor.client import SupervisorClient

    child.end_with_supervisor()
    home = child.home
    ensure_token(home)  # its file may have been removed since the start
    backend = LocalBackend(
        SupervisorClient(home.supervisor_socket),
        {"front-0": FrontClient(home.front_socket(0))},
        home.routing_file,
    )
    plane = ControlPlane.open(
        database=home.database,
        artifacts=home.artifacts,
        backend=backend,
        token_hash=token_hash(home.token_file.read_text().strip()),
        front_url=child.front_url,
        open_inference=child.open_inference,
    )
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
    # uvicorn raises the signal again that stopped it; by default that would end the process
    # before the database is closed.
    signal.signal(signal.SIGTERM, lambda *_: None)
    plane.start()
    child.tell_ready()  # the socket listens already: who connects now is answered in a moment
    try:
        uvicorn.Server(config).run(sockets=[child.listener])
    finally:
        plane.close()
