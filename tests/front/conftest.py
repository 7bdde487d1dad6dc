"""A real front in a thread of its own: real sockets, stub hosts in place of models."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gnomon.core.access import token_hash
from gnomon.core.routing import Route, RoutingTable, ServedModel
from gnomon.front.app import Front
from gnomon.front.client import FrontClient
from gnomon.front.http import HttpTimers
from gnomon.http_access import allowed_hosts
from gnomon.testing import ListLog
from tests.front.models import TOKEN, champion, route
from tests.front.stub_host import Answer, StubHost, doubles
from tests.front.wire import Client
from tests.waiting import until

QUICK = HttpTimers(head_s=0.3, body_stall_s=0.3, keep_alive_s=0.6, linger_s=0.3, sweep_s=0.02)


@dataclass
class Answered:
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class FrontServer:
    """A front, its hosts and its log."""

    directory: Path
    log: ListLog
    timers: HttpTimers | None = None
    hosts: dict[str, StubHost] = field(default_factory=dict)
    version: int = 0
    clients: list[socket.socket] = field(default_factory=list)

    def start(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.client = FrontClient(self.directory / "front-0.sock")

        async def open_front() -> Front:
            front = Front(
                hosts_directory=self.directory,
                log=self.log,
                allowed_hosts=allowed_hosts([self.port]),
                version="0.0.test",
                timers=self.timers,
            )
            await front.listen(listener, self.directory / "front-0.sock")
            return front

        self.front = self.run(open_front)

    def stop(self) -> None:
        for host in self.hosts.values():
            host.kill()
        self.run(lambda: self.front.stop(timeout_s=0.1))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()
        for client in self.clients:
            client.close()

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine on the front's loop."""
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(20)

    def host(self, model: ServedModel, answer: Answer = doubles) -> StubHost:
        """Start a host for a model."""
        path = self.directory / f"{model.host}.sock"
        self.hosts[model.host] = host = StubHost(path, model.uuid, answer).start()
        return host

    def route(self, *routes: Route, open_inference: bool = False) -> None:
        """Make the front route by these."""
        self.version += 1
        self.client.route(
            RoutingTable(
                version=self.version,
                routes=routes,
                token_hashes={token_hash(TOKEN): 1},
                open_inference=open_inference,
            )
        )

    def connected(self, host: str) -> bool:
        return bool(self.client.stats()["connected"].get(host))

    def wait_connected(self, *hosts: str) -> None:
        for host in hosts:
            until(lambda host=host: self.connected(host))

    def raw(self) -> socket.socket:
        """Connect a client that speaks HTTP by itself."""
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(10)
        self.clients.append(client)
        return client

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        **headers: str | None,
    ) -> Answered:
        """Send one request; underscores in header names become dashes."""
        sent: dict[str, str | None] = {"authorization": f"Bearer {TOKEN}", **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                method,
                path,
                body,
                {name.replace("_", "-"): text for name, text in sent.items() if text is not None},
            )
            answer = connection.getresponse()
            found = {name.lower(): text for name, text in answer.getheaders()}
            return Answered(answer.status, found, answer.read())
        finally:
            connection.close()

    def infer(self, body: Any, *, pipeline: str = "fraud", **headers: str | None) -> Answered:
        """Post a body, bytes as they are, everything else as JSON, to the pipeline of `route`."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/v1/api/pipelines/infer/{pipeline}-7/{pipeline}"
        return self.ask("POST", path, data, **headers)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def server(short_directory: Path) -> Iterator[FrontServer]:
    """A front that routes nothing yet."""
    server = FrontServer(short_directory, ListLog())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def quick_server(short_directory: Path) -> Iterator[FrontServer]:
    """The same with timers of parts of a second."""
    server = FrontServer(short_directory, ListLog(), timers=QUICK)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def doubling(server: FrontServer) -> FrontServer:
    """A front with one champion that doubles, in pipeline fraud, deployment 7."""
    server.host(champion())
    server.route(route(champion()))
    server.wait_connected(champion().host)
    return server


@pytest.fixture
def client(doubling: FrontServer) -> Client:
    """A client of that."""
    return Client(doubling.raw())


@pytest.fixture
def quick(quick_server: FrontServer) -> FrontServer:
    """The same with a champion that doubles."""
    quick_server.host(champion())
    quick_server.route(route(champion()))
    quick_server.wait_connected(champion().host)
    return quick_server


@pytest.fixture(autouse=True, scope="session")
def _no_descriptor_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) < before + 100
