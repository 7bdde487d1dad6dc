"""HTTP by hand: bytes out, answers in, to see exactly what the front does."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.front.models import TOKEN

BODY = b'{"tensor": [[1.0, 2.0]]}'
PATH = "/v1/api/pipelines/infer/fraud-7/fraud"


@dataclass
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def doubled(self) -> list[float]:
        """The outputs of a model that doubles."""
        return self.json[0]["outputs"][0]["Float"]["data"]


def head(
    port: int,
    *more: str,
    method: str = "POST",
    path: str = PATH,
    version: str = "1.1",
    length: int | None = len(BODY),
    token: str | None = TOKEN,
    host: str | None = None,
) -> bytes:
    """Return a request's head, up to and with the empty line."""
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host or f'127.0.0.1:{port}'}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, *more, "", ""]).encode()


class Client:
    """One connection."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self._stream = client.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, method: str = "POST") -> Reply | None:
        """Read one answer; None if the connection was closed."""
        line = self._stream.readline()
        if not line:
            return None
        status = int(line.split()[1])
        headers = {}
        while (line := self._stream.readline()) not in (b"\r\n", b""):
            name, _, text = line.decode("latin-1").partition(":")
            headers[name.lower()] = text.strip()
        length = 0 if method == "HEAD" or status == 100 else int(headers.get("content-length", 0))
        return Reply(status, headers, self._stream.read(length))

    def ask(self, data: bytes) -> Reply | None:
        """Send and read one answer."""
        self.send(data)
        return self.read()

    def is_closed(self) -> bool:
        """Wait for the end of the connection."""
        with contextlib.suppress(ConnectionResetError):
            return self._stream.read(1) == b""
        return True


def assert_error(reply: Reply | None, status: int, code: str) -> None:
    """Check that an answer is an error of this kind, and tells no more than it may."""
    assert reply is not None
    assert reply.status == status, reply.body
    error = reply.json
    assert set(error) == {"error", "code", "status", "source", "error_code", "request_id"}
    assert (error["code"], error["error_code"]) == (status, code)
    assert (error["status"], error["source"]) == ("error", "gnomon")
    assert error["request_id"] == reply.headers["x-gnomon-request-id"]
    assert "Traceback" not in error["error"]
    assert "/work" not in error["error"]
