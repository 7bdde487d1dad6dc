"""The API on a real port, over a control plane with a FakeBackend whose reconciler runs."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import uvicorn

from gnomon.api.app import create_app
from gnomon.api.server import ServerIdentity
from gnomon.control.plane import ControlPlane
from gnomon.http_access import allowed_hosts
from gnomon.log.query import Cursor
from gnomon.testing import FakeBackend
from tests.planes import FRONT_URL, TOKEN, open_plane
from tests.waiting import until


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    """A client of the API; `headers` go with every request."""

    port: int
    plane: ControlPlane
    backend: FakeBackend
    log: FakeLog
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str | None] | None = None,
        raw: Any = None,
        chunked: bool = False,
    ) -> Answer:
        """Send a request: `body` as JSON, or `raw` bytes; a header of None is left out."""
        sent: dict[str, str | None] = {**self.headers}
        if body is not None:
            raw = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            kept = {key: value for key, value in sent.items() if value is not None}
            connection.request(method, path, raw, kept, encode_chunked=chunked)
            answer = connection.getresponse()
            names = {key.lower(): value for key, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    def upload(self, name: str, content: bytes | None = None, workspace: int = 1) -> Any:
        content = f"the file of {name}".encode() if content is None else content
        answer = self.call(
            "POST",
            f"/v1/workspaces/{workspace}/models/{name}/versions?file_name=f.onnx",
            raw=content,
        )
        assert answer.status == 201, answer.body
        return answer.json()

    def deploy(self, name: str, definition: Any, workspace: int = 1) -> Any:
        pipelines = f"/v1/workspaces/{workspace}/pipelines"
        assert self.call("POST", pipelines, {"name": name}).status in (200, 201)
        answer = self.call("PUT", f"{pipelines}/{name}/deployment", {"definition": definition})
        assert answer.status == 202, answer.body
        return answer.json()

    def settled(self, name: str, workspace: int = 1) -> Any:
        answer = self.call(
            "GET", f"/v1/workspaces/{workspace}/pipelines/{name}/deployment?wait_s=10"
        )
        assert answer.json()["settled"], answer.body
        return answer.json()


def ref(version: dict[str, Any]) -> dict[str, Any]:
    """Return the reference to a version, as a definition has it."""
    return {
        "version_id": version["id"],
        "name": version["name"],
        "ordinal": version["ordinal"],
        "version": version["uuid"],
        "sha": version["sha256"],
    }


def shadow(champion: dict[str, Any], *challengers: dict[str, Any]) -> dict[str, Any]:
    """Return a definition."""
    if not challengers:
        return {"steps": [{"ModelInference": {"model": ref(champion)}}]}
    shadow = {
        "champion": ref(champion),
        "challengers": [ref(version) for version in challengers],
        "mode": "async",
        "shadow_wait_ms": 1000,
        "sample": [1.0] * len(challengers),
    }
    return {"steps": [{"ShadowDeploy": shadow}]}


class FakeLog:
    """Reads as `log.reader.read` does; `rows` are the request ids, newest first; or has a `bug`."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.asked: list[tuple[Path, int, dict[str, Any]]] = []
        self.notices: tuple[str, ...] = ()
        self.bug: Exception | None = None

    def __call__(self, directory: Path, pipeline_id: int, **asked: Any) -> FakePage:
        if self.bug is not None:
            raise self.bug
        self.asked.append((directory, pipeline_id, asked))
        return FakePage(self.rows, asked["limit"], self.notices)


class FakePage:
    """A `log.reader.Page`, of which only the request ids are known."""

    def __init__(self, rows: list[str], limit: int, notices: tuple[str, ...]) -> None:
        self._rows = rows[:limit]
        self.more = len(rows) > limit
        self.next = Cursor({"log": len(self._rows)})
        self.notices = notices

    def table(self) -> pa.Table:
        return pa.table({"request_id": pa.array(self._rows, pa.string())})


def identity(port: int, home: Path) -> ServerIdentity:
    """Return what a server on this port says of itself."""
    return ServerIdentity(
        version="1.2.3",
        control_url=f"http://127.0.0.1:{port}",
        front_url=FRONT_URL,
        home=str(home),
        pid=1234,
    )


@contextlib.contextmanager
def serving(directory: Path, *, allow_python_models: bool = False) -> Iterator[Api]:
    """Serve an API whose data is in `directory`."""
    home = directory / "home"
    home.mkdir()
    backend, log = FakeBackend(), FakeLog()
    plane = open_plane(home, backend, allow_python_models=allow_python_models)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    app = create_app(
        plane,
        identity=identity(port, home),
        read_logs=log,
        log_directory=directory / "log",
        allowed_hosts=allowed_hosts([port]),
    )
    plane.start()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield Api(port, plane, backend, log)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        plane.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API of the test's own."""
    with serving(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API for tests that change nothing."""
    with serving(tmp_path_factory.mktemp("shared")) as served:
        yield served
