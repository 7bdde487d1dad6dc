"""Two servers that answer alike: ours, and plain uvicorn with an application of the same routes.

What is sent to them is bytes in which `$HOST` stands for the server's own Host.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from gnomon.testing import ListLog
from tests.front.conftest import FrontServer
from tests.front.models import TOKEN, champion, route
from tests.front.wire import BODY, PATH, Client, Reply
from tests.waiting import until

HEALTH = "/v1/health"


def post(
    *more: str | bytes,
    line: str = f"POST {PATH} HTTP/1.1",
    host: str | None = "$HOST",
    length: int | None = len(BODY),
    body: bytes = BODY,
) -> bytes:
    """Return a request for an inference, or what a rule wants to see in its place."""
    lines: list[str | bytes] = [line]
    if host is not None:
        lines.append(f"Host: {host}")
    lines.append(f"Authorization: Bearer {TOKEN}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    encoded = [each if isinstance(each, bytes) else each.encode() for each in (*lines, *more)]
    return b"\r\n".join([*encoded, b"", body])


def get(*more: str | bytes, line: str = f"GET {HEALTH} HTTP/1.1", **options: Any) -> bytes:
    """Return a request for the state of the server, without a body."""
    return post(*more, line=line, **{"length": None, "body": b"", **options})


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a body in chunks, all of them whole and in order."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@dataclass(frozen=True)
class Server:
    """A server under test.

    Attributes:
        name: "ours" or "uvicorn".
        loop: What it runs on, in a thread of its own.
    """

    name: str
    port: int
    loop: asyncio.AbstractEventLoop

    @contextlib.contextmanager
    def talk(self, timeout_s: float = 10.0) -> Iterator[Talk]:
        """Open a connection."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(timeout_s)
            self.turn(4)  # until it is accepted
            yield Talk(client, self)

    def turn(self, times: int) -> None:
        """Let the loop turn, so that what was sent to it before is read."""

        async def turn() -> None:
            for _ in range(times):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(turn(), self.loop).result(10)


class Talk(Client):
    """A connection on which answers are told as short texts: "200", "400", ..., "end".

    "200" of an inference means that the outputs are those of `BODY`.
    """

    def __init__(self, client: socket.socket, server: Server) -> None:
        super().__init__(client)
        self._host = f"127.0.0.1:{server.port}".encode()
        self._server = server

    def send(self, data: bytes) -> None:
        """Send bytes; `$HOST` is filled in. Whether they are taken is seen by the answer."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(self.filled(data))

    def filled(self, data: bytes) -> bytes:
        """Return the bytes as they are sent."""
        return data.replace(b"$HOST", self._host)

    def send_parts(self, *parts: bytes) -> None:
        """Send bytes so that the server reads each part by itself."""
        for part in parts:
            self.send(part)
            self._server.turn(2)

    def told(self, *, method: str = "POST") -> str:
        """Read one answer."""
        try:
            reply = self.read(method=method)
        except ConnectionResetError:
            reply = None
        except TimeoutError:
            return "nothing"
        return "end" if reply is None else telling(reply)

    def rest(self, *, methods: Iterable[str] = ()) -> str:
        """Say that nothing more will be sent; return all answers until the end.

        Args:
            methods: Of the requests, as far as they are not all POST or GET.
        """
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        told: list[str] = []
        for method in chain(methods, repeat("POST")):
            told.append(self.told(method=method).replace("healthy", "200"))
            if _is_last(told):
                return " ".join(told)
        raise AssertionError

    def outcome(self, data: bytes, answers: int, *, method: str = "POST") -> str:
        """Send a request and say what came of it: "200 open", "400 closed", "100 200 open".

        Whether a connection is still open is found out by asking for the state of the server.

        Args:
            answers: How many to wait for; fewer are read only where the connection ends, or
                where nothing comes.
        """
        self.send(data)
        told: list[str] = []
        while len(told) < answers and not _is_last(told):
            told.append(self.told(method=method).replace("healthy", "200"))
        if not _is_last(told):
            self.send(get())
            after = self.told()
            told.append({"healthy": "open", "end": "closed"}.get(after, f"then {after}"))
        return " ".join(told).replace("end", "closed")


def _is_last(told: list[str]) -> bool:
    return told[-1:] in (["end"], ["nothing"])


def telling(reply: Reply) -> str:
    """Tell an answer in a word."""
    if reply.status != 200:
        return str(reply.status)
    if reply.body.startswith(b"["):
        return "200" if reply.doubled == [2.0, 4.0] else f"200 of {reply.doubled}"
    return "healthy" if reply.body else "200"


@contextlib.contextmanager
def ours() -> Iterator[Server]:
    """Run a front whose champion doubles."""
    with tempfile.TemporaryDirectory() as directory:
        server = FrontServer(Path(directory), ListLog())
        server.start()
        server.host(champion())
        server.route(route(champion()))
        server.wait_connected(champion().host)
        yield Server("ours", server.port, server.loop)
        server.stop()


@contextlib.contextmanager
def uvicorns() -> Iterator[Server]:
    """Run uvicorn as it comes, with its httptools implementation."""
    config = uvicorn.Config(
        _doubling, http="httptools", ws="none", loop="uvloop", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    loop = uvloop.new_event_loop()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(server.serve([listener])), daemon=True
    )
    thread.start()
    until(lambda: server.started)
    yield Server("uvicorn", listener.getsockname()[1], loop)
    server.should_exit = server.force_exit = True
    thread.join(10)
    loop.close()


async def _doubling(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer as a front does whose champion doubles; uvicorn has done what HTTP asks for."""
    allowed = {HEALTH: ("GET", "HEAD"), PATH: ("POST",)}.get(scope["path"])
    if allowed is None:
        await _answer(send, 404)
    elif scope["method"] not in allowed:
        await _answer(send, 405)
    elif scope["path"] == HEALTH:
        await _answer(send, 200, {"status": "ok"})
    else:
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body, more = body + event.get("body", b""), event.get("more_body", False)
        try:
            values = [2.0 * value for row in json.loads(body)["tensor"] for value in row]
        except ValueError:
            await _answer(send, 400)
        else:
            await _answer(send, 200, [{"outputs": [{"Float": {"data": values}}]}])


async def _answer(send: Any, status: int, value: Any = None) -> None:
    await asyncio.sleep(0)
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
