"""Where a request's head and body end, and what is refused because of it."""

from __future__ import annotations

from typing import Protocol

from httptools import HttpRequestParser

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, MalformedRequest, Overloaded
from gnomon.front.calls import Head, Refused


class BodyCallbacks(Protocol):
    """What httptools calls after a head."""

    def on_body(self, piece: bytes) -> None: ...
    def on_chunk_header(self) -> None: ...
    def on_message_complete(self) -> None: ...


def body_parser(callbacks: BodyCallbacks, headers: dict[bytes, bytes]) -> HttpRequestParser:
    """Return a parser for a body whose head has been read, and for nothing after it."""
    parser = HttpRequestParser(_Body(callbacks))
    length = headers.get(b"content-length")
    framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: " + length
    parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
    return parser


class _Body:
    """Hands on what comes after a head."""

    def __init__(self, callbacks: BodyCallbacks) -> None:
        self.on_body = callbacks.on_body
        self.on_chunk_header = callbacks.on_chunk_header
        self.on_message_complete = callbacks.on_message_complete


def keeps_alive(parser: HttpRequestParser, headers: dict[bytes, bytes]) -> bool:
    """Say whether another request may follow the one whose head has been parsed."""
    if parser.get_method() == b"CONNECT":  # what follows is no request (RFC 9110, section 9.3.6)
        return False
    options = headers.get(b"connection", b"").lower().split(b",")
    return parser.should_keep_alive() and b"close" not in map(bytes.strip, options)


def check_framing(headers: dict[bytes, bytes], *, http_10: bool) -> None:
    """Raise MalformedRequest if it is not certain where the body ends."""
    encoding = headers.get(b"transfer-encoding")
    if encoding is None:
        return
    if b"content-length" in headers:
        raise MalformedRequest("Content-Length and Transfer-Encoding exclude each other.")
    if http_10 or encoding.lower() != b"chunked":
        raise MalformedRequest("Of all transfer encodings only 'chunked' is taken, in HTTP/1.1.")


def check_expectation(expectation: bytes) -> None:
    """Raise Refused if an Expect header asks for what is not done here."""
    if expectation != b"100-continue":
        raise Refused(417, "Of all expectations only 100-continue is met.")


def head_too_large() -> Refused:
    """Return the refusal of a head over its limits."""
    return Refused(
        431,
        f"The head has more than {limits.HEAD_BYTES_MAX} bytes or {limits.HEADERS_MAX} headers.",
    )


def body_too_large() -> BodyTooLarge:
    """Return the refusal of a body over its limit."""
    return BodyTooLarge(
        f"The body has more than {limits.INFER_BODY_BYTES_MAX} bytes. Send fewer rows at a time."
    )


def too_many_connections() -> Refused:
    """Return the refusal of one connection more."""
    return Refused(503, "Too many connections.", {"Retry-After": str(limits.RETRY_AFTER_S)})


def bodies_too_large() -> Overloaded:
    """Return the refusal of a body for which there is no room now."""
    return Overloaded("Too many bytes of request bodies are under way; try again.")


# What makes a request more than its head and a body of Content-Length bytes, or unlike all others.
_UNREPEATABLE = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"x-gnomon-request-id"})


def is_repeatable(head: Head) -> bool:
    """Say whether requests with the same bytes before the body can be taken unparsed."""
    return head.keep_alive and not head.http_10 and head.headers.keys().isdisjoint(_UNREPEATABLE)
