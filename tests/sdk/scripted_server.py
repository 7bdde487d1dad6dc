"""A server that does with each connection what a test says: answers, hangs up, is silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ScriptedServer:
    """Runs one step of its script for each request; use it as a context.

    A step takes the connection, after the request was read, and may answer. What it returns says
    whether the connection stays open.

    Attributes:
        requests: What came in, whole, by connection.
    """

    def __init__(self, *script: Callable[[socket.socket], bool]) -> None:
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.requests: list[list[bytes]] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> ScriptedServer:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self.requests.append([])
                threading.Thread(
                    target=self._serve, args=(connection, self.requests[-1]), daemon=True
                ).start()

    def _serve(self, connection: socket.socket, requests: list[bytes]) -> None:
        with suppress(OSError):
            while received := _request(connection):
                requests.append(received)
                if not self._script.pop(0)(connection):
                    break
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answers(data: bytes = OK) -> Callable[[socket.socket], bool]:
    """Make a step that answers and keeps the connection."""

    def step(connection: socket.socket) -> bool:
        connection.sendall(data)
        return True

    return step


def hangs_up(after: bytes = b"") -> Callable[[socket.socket], bool]:
    """Make a step that ends the connection, after some bytes of an answer."""

    def step(connection: socket.socket) -> bool:
        connection.sendall(after)
        return False

    return step
