"""One HTTP/1.1 connection on httptools: no task, no future and no timer per request.

Answers leave in the order of the requests. A connection reads no further while too many of its
requests wait or its client does not take the answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from enum import Enum
from math import inf
from typing import cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, GnomonError, Internal, MalformedRequest, Overloaded
from gnomon.core.names import check_request_id
from gnomon.front.calls import INTERNAL, Call, Refused, run
from gnomon.front.framing import body_parser, body_too_large, check_framing, head_too_large
from gnomon.front.port import Port

_LOG = logging.getLogger("gnomon.front.http")
_PIECE_BYTES = limits.HEAD_BYTES_MAX  # fed to the parser at a time


class _Phase(Enum):
    IDLE = "between requests"
    HEAD = "receiving a head"
    BODY = "receiving a body"
    ENDED = "no further request is taken"


class HttpConnection(asyncio.Protocol):
    """One connection: bytes to calls, answers to bytes."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.deadline = port.now + port.timers.keep_alive_s
        self.write_deadline = inf
        self._transport: asyncio.Transport
        self._parser = HttpRequestParser(self)
        self._phase = _Phase.IDLE
        self._calls: deque[Call] = deque()  # received in full, oldest first
        self._unparsed = b""
        self._parsing = self._reading_paused = self._client_done = self._lingering = False
        self._lingered_bytes = self._unwritten_bytes = 0
        self._start_message()

    def _start_message(self) -> None:
        self._call: Call | None = None  # its head is complete, its body is not
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0  # of complete headers
        self._fed_bytes = 0  # before the head was complete
        self._headers_count = 0
        self._body: bytes | bytearray = b""
        self._body_bytes = 0
        self._chunks = 0
        self._refusal: GnomonError | Refused | None = None
        self._continue_due = False
        self._body_to_come = False  # httptools takes the body of an upgrade for the new protocol

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        full = len(self._port.connections) >= limits.CONNECTIONS_MAX
        self._port.connections.add(self)
        if full:
            busy = Refused(503, "Too many connections.", {"Retry-After": str(limits.RETRY_AFTER_S)})
            self._end_input(busy, linger=False)
        elif self._port.draining:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.ENDED:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > limits.LINGER_BYTES_MAX:
                self.abort()
        elif self._reading_paused:
            self._unparsed += data  # what was on its way when reading stopped: one read at most
        else:
            self._feed(data)

    def eof_received(self) -> bool:
        self._client_done = True
        return bool(self._calls) and not self._lingering  # a half-closed client gets its answers

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._phase = _Phase.ENDED
        self._port.bodies_bytes -= self._body_bytes
        self._start_message()
        self._forget_calls()
        del self._parser  # it refers back
        self._port.connections.discard(self)
        if not self._port.connections:
            self._port.empty.set()

    def pause_writing(self) -> None:
        self._unwritten_bytes = self._transport.get_write_buffer_size()
        self.write_deadline = self._port.now + self._port.timers.body_stall_s

    def resume_writing(self) -> None:
        self.write_deadline = inf
        self._write_answers()

    # What httptools calls, in this order

    def on_message_begin(self) -> None:
        if self._phase is _Phase.ENDED:
            raise _InputEnded
        self._start_message()
        self._phase = _Phase.HEAD
        self.deadline = self._port.now + self._port.timers.head_s

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        if len(self._target) > limits.URL_BYTES_MAX:
            raise Refused(414, f"The URL has more than {limits.URL_BYTES_MAX} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        self._headers_count += 1
        if self._head_bytes > limits.HEAD_BYTES_MAX or self._headers_count > limits.HEADERS_MAX:
            raise head_too_large()
        name = name.lower()
        if name in self._headers:
            value = self._headers[name] + b", " + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        self._phase = _Phase.BODY
        self.deadline = self._port.now + self._port.timers.body_stall_s
        version, keep_alive = self._parser.get_http_version(), self._parser.should_keep_alive()
        self._call = call = self._make_call(http_10=version == "1.0", keep_alive=keep_alive)
        headers = self._headers
        try:
            given = headers.get(b"x-gnomon-request-id")
            if given is not None:
                call.request_id = check_request_id(given.decode("latin-1"))
            if version not in ("1.0", "1.1"):
                raise Refused(505, "HTTP/1.0 and HTTP/1.1 are spoken here.")
            self._port.handler.accept(call)
        except (GnomonError, Refused) as reason:
            self._refusal = reason  # answered when the body, unread, has passed by
        check_framing(headers, http_10=call.http_10)
        if int(headers.get(b"content-length", b"0")) > limits.INFER_BODY_BYTES_MAX:
            raise body_too_large()
        if b"upgrade" in headers and self._parser.should_upgrade():
            self._body_to_come = len(headers.keys() & {b"content-length", b"transfer-encoding"}) > 0
            call.keep_alive = call.keep_alive and not self._body_to_come
        if b"expect" in headers:
            self._expect(headers[b"expect"].lower(), call)

    def on_body(self, piece: bytes) -> None:
        self._body_bytes += len(piece)
        self._port.bodies_bytes += len(piece)
        if self._body_bytes > limits.INFER_BODY_BYTES_MAX:
            raise body_too_large()
        if self._port.bodies_bytes > limits.BODIES_BYTES_MAX:
            raise Overloaded("Too many bytes of request bodies are under way; try again.")
        if self._refusal is not None:
            return
        if not self._body:
            self._body = piece
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += piece

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > limits.BODY_CHUNKS_MAX:
            raise BodyTooLarge(f"The body has more than {limits.BODY_CHUNKS_MAX} chunks.")

    def on_message_complete(self) -> None:
        if self._body_to_come:
            self._body_to_come = False
            return
        call, refusal = self._call, self._refusal
        assert call is not None
        call.body = bytes(self._body)
        self._port.bodies_bytes -= self._body_bytes - len(call.body)  # a refused body is not kept
        self._body_bytes = 0
        self._call = None
        self._body = b""
        self._phase = _Phase.IDLE if call.keep_alive else _Phase.ENDED
        self.deadline = inf
        self._calls.append(call)
        if refusal is not None:
            call.refuse(refusal)
        else:
            run(self._port.handler, call)

    # Input

    def _feed(self, data: bytes) -> None:
        """Parse piece by piece, stopping where this connection has to wait."""
        if self._phase is _Phase.BODY:
            self.deadline = self._port.now + self._port.timers.body_stall_s
        self._parsing = True
        for start in range(0, len(data), _PIECE_BYTES):
            if self._has_to_wait():
                self._unparsed = data[start:]
                break
            self._parse(data[start : start + _PIECE_BYTES])
            if self._phase is _Phase.ENDED:
                break
        self._parsing = False
        if self._has_to_wait() and not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _has_to_wait(self) -> bool:
        waits = len(self._calls) >= limits.PIPELINED_REQUESTS_MAX or self.write_deadline < inf
        return waits and self._phase is not _Phase.ENDED

    def _parse(self, piece: bytes) -> None:
        while piece and self._phase is not _Phase.ENDED:
            try:
                self._parser.feed_data(piece)
            except HttpParserUpgrade as upgrade:
                # An offer to speak another protocol may be ignored (RFC 9110, section 7.8).
                piece = piece[upgrade.args[0] :]
                if self._call is not None:
                    self._parser = body_parser(self, self._headers)
                continue
            except HttpParserCallbackError as error:
                self._end_input(error.__context__)
            except HttpParserError:
                self._end_input(MalformedRequest("The request is not valid HTTP/1.1."))
            if self._phase is _Phase.HEAD:
                self._fed_bytes += len(piece)
                if self._fed_bytes > 2 * limits.HEAD_BYTES_MAX:
                    self._end_input(head_too_large())
            return

    def _end_input(self, reason: BaseException | None, *, linger: bool = True) -> None:
        """Take nothing more; answer with the reason after the answers that are due before it."""
        if self._phase is _Phase.ENDED:
            return
        call = self._call or self._make_call(http_10=False, keep_alive=False)
        self._port.bodies_bytes -= self._body_bytes
        self._start_message()
        if not isinstance(reason, GnomonError | Refused):
            _LOG.error("request %s: reading it failed", call.request_id, exc_info=reason)
            reason = Internal(INTERNAL)
        call.keep_alive = False
        self._phase = _Phase.ENDED
        self.deadline = inf
        self._lingering = linger
        self._calls.append(call)
        call.refuse(reason)

    def _make_call(self, *, http_10: bool, keep_alive: bool) -> Call:
        time_ns = time.time_ns()
        return Call(
            self,
            method=self._parser.get_method() if self._target else b"",
            target=self._target,
            headers=self._headers,
            request_id=self._port.request_ids.next(time_ns),
            time_ns=time_ns,
            http_10=http_10,
            keep_alive=keep_alive,
        )

    def _expect(self, expectation: bytes, call: Call) -> None:
        if expectation != b"100-continue":
            raise Refused(417, "Of all expectations only 100-continue is met.")
        if self._refusal is not None:
            raise self._refusal  # at once: the client waits, and may not send the body at all
        if not call.http_10:
            self._continue_due = True
            self._write_continue()

    # Output

    @property
    def date_line(self) -> bytes:
        """Return the Date header as a line."""
        return self._port.date_line

    def closes_after(self, call: Call) -> bool:
        """Say whether no further request is taken after this one's answer."""
        last = self._calls[-1] is call and self._phase is _Phase.IDLE
        return last and (self._port.draining or self._client_done)

    def answered(self, call: Call, answer: bytes) -> None:
        """Write the answer when it is its turn."""
        self._port.bodies_bytes -= len(call.body)
        call.body = b""
        call.answer_bytes = answer
        self._write_answers()

    def _write_answers(self) -> None:
        calls = self._calls
        while calls and calls[0].answer_bytes is not None and self.write_deadline == inf:
            call = calls.popleft()
            assert call.answer_bytes is not None
            self._transport.write(call.answer_bytes)
            if not call.keep_alive:
                self._close()
                return
        if not calls and self._client_done:
            self._close()
            return
        if not calls and self._phase is _Phase.IDLE:
            self.deadline = self._port.now + self._port.timers.keep_alive_s
        self._write_continue()
        if self._reading_paused and not self._parsing and not self._has_to_wait():
            self._reading_paused = False
            data, self._unparsed = self._unparsed, b""
            self._transport.resume_reading()
            self._feed(data)

    def _write_continue(self) -> None:
        if self._continue_due and not self._calls and self._phase is _Phase.BODY:
            self._continue_due = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _forget_calls(self) -> None:
        self._port.bodies_bytes -= sum(len(call.body) for call in self._calls)
        for call in self._calls:
            call.connection = None
        self._calls.clear()

    def _close(self) -> None:
        self._phase = _Phase.ENDED
        self._forget_calls()
        self.deadline = self._port.now + self._port.timers.body_stall_s
        if not self._lingering or self._client_done or not self._transport.can_write_eof():
            self._transport.close()
            return
        # Closing while the client still sends would reset the connection, and with it the answer.
        self.deadline = self._port.now + self._port.timers.linger_s
        self._transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            self._unparsed = b""
            self._transport.resume_reading()

    def expire(self) -> None:
        """End what has taken too long."""
        unwritten = self._transport.get_write_buffer_size()
        if unwritten and unwritten < self._unwritten_bytes:  # slow, but taking its answer
            self._unwritten_bytes = unwritten
            self.write_deadline = self._port.now + self._port.timers.body_stall_s
            self.deadline = max(self.deadline, self.write_deadline)
        elif self.write_deadline <= self._port.now or self._phase is _Phase.ENDED:
            self.abort()
        elif self._reading_paused:
            self.deadline = self._port.now + self._port.timers.head_s  # not the client's fault
        elif self._phase is _Phase.IDLE:
            self._transport.close()
        else:
            self._end_input(Refused(408, "The request did not arrive in time."))

    def drain(self) -> None:
        """Close now if nothing is under way, else after the answers."""
        if not self._calls and self._phase is _Phase.IDLE:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()


class _InputEnded(Exception):
    """Stops the parser."""
