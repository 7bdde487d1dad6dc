"""Connections to servers: kept open between requests, shared by threads, never by processes."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse
from typing import IO, NamedTuple
from urllib.parse import SplitResult, urlsplit

from gnomon.core import limits

_SENT_AT_ONCE_BYTES = 256 * limits.KIB  # of a file
_SECOND = 1.0


class NotConnected(Exception):
    """There is no connection: nothing was sent."""


class Unanswered(Exception):
    """The connection ended before a byte of the answer came."""


class BrokenOff(Exception):
    """The connection ended within the answer, or what came is no HTTP."""


class Cancelled(Exception):
    """Another thread ended the request."""


class Cancel:
    """Lets another thread end a request, also while it waits for the answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._socket: socket.socket | None = None

    def now(self) -> None:
        """End the request; one that has not begun will not."""
        with self._lock:
            self._asked = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # the server was faster
                    self._socket.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise Cancelled if `now` was called."""
        if self._asked:
            raise Cancelled

    @contextlib.contextmanager
    def reaching(self, reached: socket.socket) -> Iterator[None]:
        """Have `now` end what uses this socket.

        Raises:
            Cancelled: It was called already.
        """
        with self._lock:
            self.check()
            self._socket = reached
        try:
            yield
        finally:
            with self._lock:
                self._socket = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        repeatable: It may be sent a second time if the connection ended before a byte of the
            answer came, as that of a server that drains or has closed it while it was idle.
        timeout_s: Seconds that the server may be silent.
        on_second: Called each second that the answer is waited for.
    """

    method: str
    url: str
    body: bytes | IO[bytes] | None
    headers: Mapping[str, str]
    timeout_s: float
    repeatable: bool
    on_second: Callable[[], None] | None = None


class Answer(NamedTuple):
    """What came back. Names of headers are found without regard to case."""

    status: int
    headers: HTTPMessage
    body: bytes


class Connections:
    """Connections to any number of servers, opened as needed.

    Safe to use from several threads. There is no lock that a fork could inherit locked, and a
    forked child opens connections of its own: two processes never read from one.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._idle: dict[tuple[str, str], deque[HTTPConnection]] = {}

    def close(self) -> None:
        """Close what is idle."""
        for kept in self._idle.values():
            for connection in kept:
                connection.close()

    __del__ = close

    @cached_property
    def _tls(self) -> Callable[..., HTTPConnection]:
        import ssl  # which not every Python has
        from http.client import HTTPSConnection

        return partial(HTTPSConnection, context=ssl.create_default_context())

    def ask(self, request: Request, cancel: Cancel | None = None) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            NotConnected, Unanswered, BrokenOff, Cancelled
            TimeoutError: The server was silent for `timeout_s`.
        """
        if self._process != os.getpid():
            self.close()  # here; the parent's ends stay open
            self._begin()
        address = urlsplit(request.url)
        try:
            return self._exchange(address, self._take(address), request, cancel)
        except Unanswered:
            if not request.repeatable:
                raise
        # Not on another one that was kept: what ended the first has most likely ended them all.
        return self._exchange(address, self._new(address), request, cancel)

    def _take(self, address: SplitResult) -> HTTPConnection:
        kept = self._idle.get((address.scheme, address.netloc))
        while kept:
            try:
                connection = kept.pop()
            except IndexError:  # another thread took it
                break
            # Its end may have come meanwhile, or an answer to nothing.
            if not _has_come(connection.sock, within_s=0):
                return connection
            connection.close()
        return self._new(address)

    def _new(self, address: SplitResult) -> HTTPConnection:
        kind = self._tls if address.scheme == "https" else HTTPConnection
        made = kind(
            address.hostname or "",
            address.port,
            timeout=limits.CLIENT_CONNECT_TIMEOUT_S,
            blocksize=_SENT_AT_ONCE_BYTES,
        )
        made.response_class = _Response
        return made

    def _exchange(
        self,
        address: SplitResult,
        connection: HTTPConnection,
        request: Request,
        cancel: Cancel | None,
    ) -> Answer:
        try:
            if cancel is not None:
                cancel.check()
            if connection.sock is None:
                _connect(connection)
            connection.sock.settimeout(request.timeout_s)
            with cancel.reaching(connection.sock) if cancel else contextlib.nullcontext():
                response, body = _converse(connection, address, request)
        except BaseException:
            connection.close()
            raise
        if not response.will_close:
            self._keep(address, connection)
        return Answer(response.status, response.headers, body)

    def _keep(self, address: SplitResult, connection: HTTPConnection) -> None:
        kept = self._idle.setdefault((address.scheme, address.netloc), deque())
        if len(kept) < limits.CLIENT_CONNECTIONS_MAX:
            kept.append(connection)
        else:
            connection.close()


class _Response(HTTPResponse):
    """An answer that tells whether any of it came."""

    def begin(self) -> None:
        try:
            begun = self.fp.peek(1)
        except TimeoutError:
            raise
        except OSError as error:
            raise Unanswered from error
        if not begun:
            raise Unanswered
        super().begin()
        if self.length is None and not self.chunked:
            raise BrokenOff("it does not say how long it is")  # or its head has no end


def _connect(connection: HTTPConnection) -> None:
    try:
        connection.connect()
    except OSError as error:
        raise NotConnected(error.strerror or str(error) or type(error).__name__) from error


def _converse(
    connection: HTTPConnection, address: SplitResult, request: Request
) -> tuple[HTTPResponse, bytes]:
    target = address._replace(scheme="", netloc="", fragment="").geturl() or "/"
    try:
        # A server may refuse and close before it has read all of the body: its answer is there.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.method, target, request.body, dict(request.headers))
            _count_seconds(connection.sock, request)
        response = connection.getresponse()
        return response, response.read()
    except TimeoutError:
        raise
    except (OSError, HTTPException) as error:
        raise BrokenOff(str(error) or type(error).__name__) from error


def _count_seconds(connected: socket.socket, request: Request) -> None:
    """Call `on_second` until something comes.

    Raises:
        TimeoutError: Nothing did.
    """
    if request.on_second is None:
        return
    deadline = time.monotonic() + request.timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        if _has_come(connected, within_s=min(_SECOND, left_s)):
            return
        request.on_second()
    raise TimeoutError


def _has_come(connected: socket.socket, within_s: float) -> bool:
    """Say whether there is something to read, or the end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        return bool(poll.poll(within_s * 1000))
    return bool(select.select([connected], [], [], within_s)[0])  # Windows: any socket will do
