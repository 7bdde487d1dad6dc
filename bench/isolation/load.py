"""Requests at a fixed rate, whatever becomes of the answers before: an open loop.

One thread, `select` and raw HTTP. Event loops wake by the millisecond; `select` takes microseconds.
"""

from __future__ import annotations

import gc
import select
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter, process_time
from urllib.parse import urlsplit

import numpy as np

CONNECTIONS = 32
PATIENCE_S = 15.0
"""So long after the last request was due, what is unanswered has failed."""
_READ_BYTES = 65_536
_END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Seen:
    """What came of one load.

    Attributes:
        latencies_s: From when each answered request was due to its answer, 200 or not.
        answers: The bodies of those with status 200.
        failures: How many failed, by reason.
        busy: The share of its core that the client itself used.
    """

    asked: int = 0
    duration_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    busy: float = 0.0

    def latency_ms(self, percent: float) -> float:
        """Return a percentile of the latencies."""
        if not self.latencies_s:
            return float("inf")
        return float(np.percentile(self.latencies_s, percent)) * 1_000

    def failed(self, reason: str) -> None:
        """Count a failure."""
        self.failures[reason] = self.failures.get(reason, 0) + 1


def request(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a POST of JSON."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


class Connection:
    """A keep-alive connection with one request under way at most."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._read = b""

    def fileno(self) -> int:
        """Return what `select` waits for."""
        return self.socket.fileno()

    def ask(self, message: bytes, due: float) -> None:
        """Send a request that was due at `due`."""
        self.due = due
        self.socket.sendall(message)

    def receive(self) -> tuple[bytes, bytes] | None:
        """Return status and body once they are here.

        Raises:
            ConnectionError: The server closed the connection before.
        """
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("closed in the middle of an answer")
        self._read += data
        head, found, body = self._read.partition(_END_OF_HEAD)
        if not found or len(body) < _length(head):
            return None
        self._read = b""
        return head[9:12], body


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


class OpenLoop:
    """Sends one request again and again.

    Args:
        url: Where to.
        message: The whole request, as `request` makes it.
        rate: Requests a second; None: each as soon as a connection is idle, a closed loop.
        seconds: How long requests are sent.
    """

    def __init__(self, url: str, message: bytes, *, rate: float | None, seconds: float) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._message = message
        self._rate = rate
        self._seconds = seconds
        self._idle = deque(Connection(self._address) for _ in range(CONNECTIONS))
        self._busy: set[Connection] = set()
        self._seen = Seen()
        self._start = 0.0

    def run(self) -> Seen:
        """Send them all, wait for the answers, close the connections."""
        gc.collect()
        gc.disable()
        try:
            self._start, cpu_s = perf_counter(), process_time()
            end = self._start + self._seconds
            while self._send(end) or self._busy:
                self._receive(end)
                if perf_counter() > end + PATIENCE_S:
                    break
            self._seen.duration_s = perf_counter() - self._start
            self._seen.busy = (process_time() - cpu_s) / self._seen.duration_s
        finally:
            gc.enable()
        if self._busy:
            self._seen.failures["no answer"] = len(self._busy)
        for connection in (*self._busy, *self._idle):
            connection.socket.close()
        return self._seen

    def _due(self) -> float:
        """Return when the next request is due."""
        if self._rate is None:
            return perf_counter()
        return self._start + self._seen.asked / self._rate

    def _send(self, end: float) -> bool:
        """Send what is due, as far as connections are idle; say whether there is more to come."""
        while (due := self._due()) < end:
            if due > perf_counter() or not self._idle:
                return True
            connection = self._idle.popleft()
            self._seen.asked += 1
            try:
                connection.ask(self._message, due)
            except OSError as error:
                self._lost(connection, error)
            else:
                self._busy.add(connection)
        return False

    def _receive(self, end: float) -> None:
        """Take the answers that are here; wait for one at most until the next request is due."""
        due = self._due()
        until = due if due < end and self._idle else perf_counter() + 0.1
        ready, _, _ = select.select(self._busy, (), (), max(0.0, until - perf_counter()))
        now = perf_counter()
        for connection in ready:
            try:
                answer = connection.receive()
            except OSError as error:
                self._busy.discard(connection)
                self._lost(connection, error)
                continue
            if answer is None:
                continue
            self._busy.discard(connection)
            self._idle.append(connection)
            self._seen.latencies_s.append(now - connection.due)
            status, body = answer
            if status == b"200":
                self._seen.answers.append(body)
            else:
                self._seen.failed(status.decode(errors="replace"))

    def _lost(self, connection: Connection, error: OSError) -> None:
        """Count a request whose connection broke, and make a new one in its place."""
        self._seen.failed(type(error).__name__)
        connection.socket.close()
        self._idle.append(Connection(self._address))
