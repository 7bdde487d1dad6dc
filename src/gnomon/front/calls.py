"""One request and its answer, as the routes see them; the connection stays out of sight."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
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


class Connection(Protocol):
    """What a call needs of the connection that it came by."""

    @property
    def date_line(self) -> bytes:
        """Return the Date header as a line."""

    def closes_after(self, call: Call) -> bool:
        """Say whether no further request is taken after this one's answer."""

    def answered(self, call: Call, answer: bytes) -> None:
        """Write the answer when it is its turn."""


class Call:
    """One HTTP request that waits for its answer.

    Attributes:
        method: As sent, upper-case.
        target: Request target, as sent.
        headers: Lower-case name to value; several of one name joined by ", ".
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
        "headers",
        "http_10",
        "keep_alive",
        "method",
        "request_id",
        "target",
        "time_ns",
    )

    def __init__(
        self,
        connection: Connection,
        *,
        method: bytes,
        target: bytes,
        headers: dict[bytes, bytes],
        request_id: str,
        time_ns: int,
        http_10: bool,
        keep_alive: bool,
    ) -> None:
        self.connection: Connection | None = connection
        self.method = method
        self.target = target
        self.headers = headers
        self.request_id = request_id
        self.time_ns = time_ns
        self.http_10 = http_10
        self.keep_alive = keep_alive
        self.body = b""
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
        elif self.http_10:
            headers += b"Connection: keep-alive\r\n"
        connection.answered(
            self,
            b"%b%bContent-Type: %b\r\nContent-Length: %d\r\nX-Gnomon-Request-Id: %b\r\n"
            b"X-Content-Type-Options: nosniff\r\n%b\r\n%b"
            % (
                _STATUS_LINES[status],
                connection.date_line,
                content_type,
                len(body),
                self.request_id.encode(),
                headers,
                b"" if self.method == b"HEAD" else body,
            ),
        )

    def refuse(self, reason: GnomonError | Refused) -> None:
        """Answer with an error."""
        error = reason.error if isinstance(reason, Refused) else reason
        status = reason.status if isinstance(reason, Refused) else status_of(reason)
        headers = reason.headers if isinstance(reason, Refused) else headers_of(reason)
        body = {
            "error": error.message,
            "code": status,
            "status": "error",
            "source": "gnomon",
            "error_code": error.code,
            "request_id": self.request_id,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.answer(status, orjson.dumps(body), headers=lines.encode())


class RequestIds:
    """Makes request ids; asks the system for random bytes once for many of them."""

    _BYTES = 10  # an id
    _IDS = 256  # asked for at once

    def __init__(self) -> None:
        self._random = b""
        self._used = 0

    def next(self, time_ns: int) -> str:
        """Return a fresh id for a request that came at `time_ns`, nanoseconds since 1970."""
        if self._used == len(self._random):
            self._random = os.urandom(self._BYTES * self._IDS)
            self._used = 0
        start, self._used = self._used, self._used + self._BYTES
        return uuid7(time_ns // 1_000_000, self._random[start : self._used])


class Handler(Protocol):
    """What answers requests."""

    def accept(self, call: Call) -> None:
        """Look at a request before its body is read; raise GnomonError or Refused to refuse it."""

    def run(self, call: Call) -> None:
        """Answer a request, now or later; raise GnomonError or Refused to refuse it."""


def run(handler: Handler, call: Call) -> None:
    """Have a call answered; whatever goes wrong, it gets an answer."""
    try:
        handler.run(call)
    except (GnomonError, Refused) as reason:
        call.refuse(reason)
    except Exception:
        fail(call)


def fail(call: Call) -> None:
    """Log the exception being handled; tell the caller that it is our fault, and close."""
    _LOG.exception("request %s: internal error", call.request_id)
    call.keep_alive = False
    call.refuse(Internal(INTERNAL))
