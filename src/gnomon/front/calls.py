"""One request and its answer, as the routes see them; the connection stays out of sight."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol

import orjson

from gnomon.core.errors import GnomonError, Internal, MalformedRequest
from gnomon.core.names import uuid7
from gnomon.http_errors import headers_of, status_of

JSON = b"application/json"
INTERNAL = "An internal error; the server's log has the details under this request id."

_LOG = logging.getLogger("gnomon.front")

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Refused(Exception):
    """A request that HTTP itself refuses, with a status of its own.

    Args:
        status: HTTP status.
        message: For the caller.
        headers: Sent with the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = MalformedRequest(message)
        self.headers = headers or {}


class Port(Protocol):
    """What a call needs of the port that it came by.

    Attributes:
        date_line: The Date header as a line.
        refused: Requests that will be refused, and have not been told.
    """

    date_line: bytes
    refused: int

    @property
    def is_crowded(self) -> bool:
        """Say whether more requests wait than may."""


class Connection(Protocol):
    """What a call needs of the connection that it came by."""

    @property
    def port(self) -> Port:
        """Return the port."""

    def closes_after(self, call: Call) -> bool:
        """Say whether no further request is taken after this one's answer."""

    def answered(self, call: Call, answer: bytes) -> None:
        """Write the answer when it is its turn."""


class Head:
    """What a request says before its body. Requests that say the same share one.

    Attributes:
        method: As sent, upper-case.
        target: Request target, as sent.
        headers: Lower-case name to value; several of one name joined by ", ".
        keep_alive: The connection may take another request afterwards.
        answerer: What the handler gave for it; None before it was asked, or if it refused.
        accepted: The port's `heads_forgotten` when it was asked.
        body_bytes: What Content-Length says.
    """

    __slots__ = (
        "accepted",
        "answerer",
        "body_bytes",
        "headers",
        "http_10",
        "keep_alive",
        "method",
        "target",
    )

    def __init__(
        self,
        method: bytes = b"",
        target: bytes = b"",
        headers: dict[bytes, bytes] | None = None,
        *,
        http_10: bool = False,
        keep_alive: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers or {}
        self.http_10 = http_10
        self.keep_alive = keep_alive
        self.answerer: Answerer | None = None
        self.accepted = 0
        self.body_bytes = 0


class Call:
    """One HTTP request that waits for its answer.

    Attributes:
        body: Empty until it has been received.
        request_id: The caller's, or a new one.
        time_ns: When its head had arrived, nanoseconds since 1970.
        keep_alive: The connection may take another request afterwards.
        answer_bytes: What is to be written; None until there is an answer.
    """

    __slots__ = (
        "answer_bytes",
        "body",
        "connection",
        "head",
        "keep_alive",
        "request_id",
        "time_ns",
    )

    def __init__(
        self, connection: Connection, head: Head, request_id: str, time_ns: int, body: bytes = b""
    ) -> None:
        self.connection: Connection | None = connection
        self.head = head
        self.request_id = request_id
        self.time_ns = time_ns
        self.body = body
        self.keep_alive = head.keep_alive
        self.answer_bytes: bytes | None = None

    def answer(
        self, status: int, body: bytes, *, content_type: bytes = JSON, headers: bytes = b""
    ) -> None:
        """Answer; nothing happens if the caller has gone or has an answer already.

        Args:
            headers: Further header lines, each ended by CRLF.
        """
        connection = self.connection
        if connection is None:
            return
        self.connection = None
        if not self.keep_alive or connection.closes_after(self):
            self.keep_alive = False
            headers += b"Connection: close\r\n"
        elif self.head.http_10:
            headers += b"Connection: keep-alive\r\n"
        connection.answered(
            self,
            b"%b%bContent-Type: %b\r\nContent-Length: %d\r\nX-Gnomon-Request-Id: %b\r\n"
            b"X-Content-Type-Options: nosniff\r\n%b\r\n%b"
            % (
                _STATUS_LINES[status],
                connection.port.date_line,
                content_type,
                len(body),
                self.request_id.encode(),
                headers,
                b"" if self.head.method == b"HEAD" else body,
            ),
        )

    def refuse(self, reason: GnomonError | Refused) -> None:
        """Answer with an error."""
        error = reason.error if isinstance(reason, Refused) else reason
        status = reason.status if isinstance(reason, Refused) else status_of(reason)
        headers = reason.headers if isinstance(reason, Refused) else headers_of(reason)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.answer(status, error_body(error, self.request_id, status), headers=lines.encode())


def error_body(error: GnomonError, request_id: str, status: int | None = None) -> bytes:
    """Return the body of an answer that is an error."""
    return orjson.dumps(
        {
            "error": error.message,
            "code": status_of(error) if status is None else status,
            "status": "error",
            "source": "gnomon",
            "error_code": error.code,
            "request_id": request_id,
        }
    )


Answerer = Callable[[Call], None]


class Handler(Protocol):
    """What answers requests."""

    def accept(self, call: Call) -> Answerer:
        """Look at a request before its body is read, and say what answers it.

        It looks at the head only, so that what it says holds for every request with this head,
        until `HttpServer.forget_heads`. What it gives answers a whole request now or later, and
        raises GnomonError or Refused to refuse it.

        Raises:
            GnomonError, Refused: The request is not taken.
        """


class RequestIds:
    """Makes request ids: UUIDs of version 7, each the one before plus one behind the time.

    Source: RFC 9562, sections 5.7 and 6.2, method 2; counted through instead of anew each
    millisecond, which costs nothing.
    """

    _TIME_CHARS = 14  # "01234567-89ab-": 48 bits of milliseconds
    _COUNTED = 24  # where in the text the digits begin that are counted up

    def __init__(self) -> None:
        text = uuid7(0, os.urandom(10))
        self._random = text[self._TIME_CHARS : self._COUNTED]
        self._count = int(text[self._COUNTED :], 16) >> 1  # so that there is room to count
        self._time_ms = -1
        self._start = ""

    def next(self, time_ns: int) -> str:
        """Return a fresh id for a request that came at `time_ns`, nanoseconds since 1970."""
        time_ms = time_ns // 1_000_000
        if time_ms != self._time_ms:
            self._time_ms = time_ms
            time = "%012x" % time_ms  # noqa: UP031 (quicker than an f-string, and so below)
            self._start = f"{time[:8]}-{time[8:]}-{self._random}"
        self._count += 1
        return "%s%012x" % (self._start, self._count)  # noqa: UP031


def run(answerer: Answerer, call: Call) -> None:
    """Have a call answered; whatever goes wrong, it gets an answer."""
    try:
        answerer(call)
    except (GnomonError, Refused) as reason:
        call.refuse(reason)
    except Exception:
        fail(call)


def fail(call: Call) -> None:
    """Log the exception being handled; tell the caller that it is our fault, and close."""
    _LOG.exception("request %s: internal error", call.request_id)
    call.keep_alive = False
    call.refuse(Internal(INTERNAL))
