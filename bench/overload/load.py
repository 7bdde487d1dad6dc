"""Requests at a fixed rate over many connections: enough to fill every queue of a server.

One thread, epoll and raw HTTP; `bench.isolation.load` is for tens of connections, this for
thousands.
"""

from __future__ import annotations

import gc
import select
import socket
from collections import Counter, deque
from dataclasses import dataclass, field
from time import perf_counter, process_time
from urllib.parse import urlsplit

import numpy as np

_READ_BYTES = 65_536
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\nContent-Length: "
_SENT_AT_ONCE = 32  # before answers are looked for
_PATIENCE_S = 15.0


@dataclass
class Seen:
    """What came of one load.

    Attributes:
        asked: Requests sent.
        seconds: How long requests were sent.
        meanwhile: Answers with status 200 that came while requests were sent.
        answered_s: From when each request was due to its answer with status 200.
        refused_s: From when each request was sent to its answer with status 429 or 503.
        answers: The bodies of status 200, with how often each came.
        refusals: The heads of refused requests without date and id, with how often each came.
        failures: Everything else, by reason.
        late_s: By how much requests were sent after they were due: the client's own fault, or that
            of a server that leaves every connection waiting.
        busy: The share of its core that the client itself used.
    """

    asked: int = 0
    seconds: float = 0.0
    meanwhile: int = 0
    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    answers: Counter[bytes] = field(default_factory=Counter)
    refusals: Counter[bytes] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    late_s: list[float] = field(default_factory=list)
    busy: float = 0.0

    @property
    def goodput(self) -> float:
        """Return the answers a second."""
        return self.meanwhile / self.seconds


def percentile_ms(times_s: list[float], percent: float) -> float:
    """Return a percentile in milliseconds; nan of nothing."""
    return float(np.percentile(times_s, percent)) * 1_000 if times_s else float("nan")


class _Connection:
    """A keep-alive connection with one request under way at most."""

    __slots__ = ("due", "read", "sent", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = self.sent = 0.0
        self.read = b""

    def receive(self) -> tuple[bytes, bytes] | None:
        """Return head and body of the answer once they are here.

        Raises:
            ConnectionError: The server closed the connection before.
        """
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("closed in the middle of an answer")
        self.read += data
        head, found, body = self.read.partition(_END_OF_HEAD)
        if not found:
            return None
        _, _, rest = head.partition(_LENGTH)
        if len(body) < int(rest.partition(b"\r\n")[0]):
            return None
        self.read = b""
        return head, body


class Client:
    """Some thousand connections to one server, used for one load after the other.

    Args:
        url: Where to.
        message: The whole request, as `bench.isolation.load.request` makes it.
        connections: No more requests than these are ever under way.
    """

    def __init__(self, url: str, message: bytes, *, connections: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._message = message
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        for _ in range(connections):
            self._connect()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def load(self, *, rate: float | None, seconds: float, connections: int | None = None) -> Seen:
        """Send requests and wait for the answers to all of them.

        Args:
            rate: Requests a second; None: each as soon as a connection is idle, a closed loop.
            connections: Use only so many.
        """
        unused = []
        while connections is not None and len(self._idle) > connections:
            unused.append(self._idle.pop())
        gc.collect()
        gc.disable()
        try:
            return _Load(self, rate, seconds).run()
        finally:
            gc.enable()
            self._idle.extend(unused)

    def _connect(self) -> None:
        connection = _Connection(self._address)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
        self._idle.append(connection)

    def _replace(self, connection: _Connection) -> None:
        """Make a new connection in place of one that broke."""
        self._epoll.unregister(connection.socket.fileno())
        del self._connections[connection.socket.fileno()]
        connection.socket.close()
        self._connect()


class _Load:
    """One load of a client."""

    def __init__(self, client: Client, rate: float | None, seconds: float) -> None:
        self._client = client
        self._idle = client._idle
        self._epoll = client._epoll
        self._message = client._message
        self._rate = rate
        self._start = perf_counter()
        self._end = self._start + seconds
        self._under_way = 0
        self._seen = Seen(seconds=seconds)

    def run(self) -> Seen:
        """Send, receive, and wait for the last answers."""
        cpu_s = process_time()
        while self._send() or self._under_way:
            self._receive()
            if perf_counter() > self._end + _PATIENCE_S:
                self._seen.failures["no answer"] += self._under_way
                break
        self._seen.busy = (process_time() - cpu_s) / (perf_counter() - self._start)
        return self._seen

    def _due(self) -> float:
        """Return when the next request is due."""
        return perf_counter() if self._rate is None else self._start + self._seen.asked / self._rate

    def _send(self) -> bool:
        """Send some of what is due; say whether there is more to come."""
        seen = self._seen
        for _ in range(_SENT_AT_ONCE):
            due, now = self._due(), perf_counter()
            if max(due, now) >= self._end:
                return False
            if due > now or not self._idle:
                return True
            connection = self._idle.popleft()
            connection.due, connection.sent = due, now
            seen.asked += 1
            seen.late_s.append(now - due)
            self._under_way += 1
            try:
                connection.socket.sendall(self._message)
            except OSError as error:
                self._lost(connection, error)
        return True

    def _receive(self) -> None:
        """Take the answers that are here; wait for one until the next request is due."""
        now = perf_counter()
        wait_s = max(0.0, self._due() - now) if self._idle and now < self._end else 0.1
        if wait_s:  # `select` wakes to the microsecond, `epoll.poll` to the millisecond
            select.select([self._epoll], (), (), min(wait_s, 0.1))
        for descriptor, _ in self._epoll.poll(0):
            connection = self._client._connections[descriptor]
            try:
                answer = connection.receive()
            except OSError as error:
                self._lost(connection, error)
                continue
            if answer is not None:
                self._under_way -= 1
                self._idle.append(connection)
                self._note(connection, *answer)

    def _note(self, connection: _Connection, head: bytes, body: bytes) -> None:
        seen, now = self._seen, perf_counter()
        status = head[9:12]
        if status == b"200":
            seen.answered_s.append(now - connection.due)
            seen.meanwhile += now < self._end
            seen.answers[body] += 1
        elif status in (b"429", b"503"):
            seen.refused_s.append(now - connection.sent)
            seen.refusals[head] += 1
        else:
            seen.failures[status.decode(errors="replace")] += 1

    def _lost(self, connection: _Connection, error: OSError) -> None:
        """Count a request whose connection broke, and make a new one in its place."""
        self._seen.failures[type(error).__name__] += 1
        self._under_way -= 1
        self._client._replace(connection)
