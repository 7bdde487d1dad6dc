"""One HTTP/1.1 connection on httptools: no task, no future and no timer per request.

Answers leave in the order of the requests. A connection reads no further while too many of its
requests wait or its client does not take the answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from math import inf
from typing import cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from gnomon.core import limits
from gnomon.core.errors import GnomonError, Internal, MalformedRequest
from gnomon.core.names import check_request_id
from gnomon.front.calls import INTERNAL, Answerer, Call, Head, Refused, run
from gnomon.front.framing import (
    bodies_too_large,
    body_parser,
    body_too_large,
    check_expectation,
    check_framing,
    keeps_alive,
    too_many_connections,
)
from gnomon.front.message import Message, Phase
from gnomon.front.pace import Pace, unsent_bytes
from gnomon.front.port import Port

_LOG = logging.getLogger("gnomon.front.http")
_PIECE_BYTES = limits.HEAD_BYTES_MAX  # fed to the parser at a time


class HttpConnection(asyncio.Protocol):
    """One connection: bytes to calls, answers to bytes.

    Attributes:
        port: By which it came.
        pace: When `expire` is due.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.pace = Pace(port)
        self.pace.next_request()
        self._transport: asyncio.Transport
        self._parser = HttpRequestParser(self)
        self._phase = Phase.IDLE
        self._calls: deque[Call] = deque()  # received in full, oldest first
        self._unparsed = b""
        self._parsing = self._reading_paused = self._client_done = self._lingering = False
        self._lingered_bytes = self._buffered_bytes = self._held_bytes = 0
        self._accepted: Head | None = None  # of the last request, if it was
        self._continue_due = False
        self._message = Message()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.port.connections.add(self)
        if len(self.port.connections) > limits.CONNECTIONS_MAX:
            self._end_input(too_many_connections(), linger=False)

    def data_received(self, data: bytes) -> None:
        head_end = 0
        if self._phase is Phase.IDLE and not self._calls and self.pace.write_due == inf:
            head_end = data.find(b"\r\n\r\n") + 4
            head = self.port.heads.get(data[:head_end])
            if head is not None and len(data) - head_end == head.body_bytes:
                self._take_known(head, data[head_end:])
                return
        if self._phase is Phase.ENDED:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > limits.LINGER_BYTES_MAX:
                self.abort()
        elif self._reading_paused:
            self._unparsed += data  # what was on its way when reading stopped: one read at most
        else:
            self._accepted = None
            self._feed(data)
            if self._phase is Phase.IDLE:
                self.port.remember(data, head_end, self._accepted)

    def eof_received(self) -> bool:
        self._client_done = True
        return bool(self._calls) and not self._lingering  # a half-closed client gets its answers

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._phase = Phase.ENDED
        self._drop_message()
        self._forget_calls()
        self._hold_buffered(0)
        del self._parser  # it refers back
        self.port.connections.discard(self)
        if not self.port.connections:
            self.port.empty.set()

    def pause_writing(self) -> None:
        self._hold_buffered(self._transport.get_write_buffer_size())
        self.pace.write(unsent_bytes(self._transport))

    def resume_writing(self) -> None:
        self._hold_buffered(0)
        self.pace.write_due = inf
        self._write_answers()

    def _hold_buffered(self, buffered_bytes: int) -> None:
        self.port.held_bytes += buffered_bytes - self._buffered_bytes
        self._buffered_bytes = buffered_bytes

    # What httptools calls, in this order

    def on_message_begin(self) -> None:
        if self._phase is Phase.ENDED:
            raise _InputEnded
        self._message = Message()
        self._continue_due = False
        self._phase = Phase.HEAD
        self.pace.head()

    def on_url(self, piece: bytes) -> None:
        self._message.add_target(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is Phase.HEAD:
            self._message.add_header(name, value)
        else:
            self._message.add_trailer(name, value)

    def on_headers_complete(self) -> None:
        self._phase = Phase.BODY
        self.pace.body()
        version, message = self._parser.get_http_version(), self._message
        headers, keep_alive = message.headers, keeps_alive(self._parser, message.headers)
        message.call = call = self._make_call(http_10=version == "1.0", keep_alive=keep_alive)
        try:
            if (given := headers.get(b"x-gnomon-request-id")) is not None:
                call.request_id = check_request_id(given.decode("latin-1"))
            if version not in ("1.0", "1.1"):
                raise Refused(505, "HTTP/1.0 and HTTP/1.1 are spoken here.")
            self._accept(call)
        except (GnomonError, Refused) as reason:
            message.refusal = reason  # answered when the body, unread, has passed by
        check_framing(headers, http_10=call.head.http_10)
        call.head.body_bytes = int(headers.get(b"content-length", b"0"))
        if call.head.body_bytes > limits.INFER_BODY_BYTES_MAX:
            raise body_too_large()
        if b"upgrade" in headers and self._parser.should_upgrade():
            framing = headers.keys() & {b"content-length", b"transfer-encoding"}
            message.is_body_to_come = len(framing) > 0
            call.keep_alive = call.keep_alive and not framing
        if b"expect" in headers:
            self._expect(headers[b"expect"].lower(), call)

    def on_body(self, piece: bytes) -> None:
        self.port.held_bytes += len(piece)
        self._message.add_body(piece)
        self.pace.body(self._message.body_bytes)
        if self.port.held_bytes > limits.HELD_BYTES_MAX:
            raise bodies_too_large()

    def on_chunk_header(self) -> None:
        self._message.add_chunk()

    def on_message_complete(self) -> None:
        message = self._message
        if message.is_body_to_come:
            message.is_body_to_come = False
            return
        call, refusal = message.call, message.refusal
        assert call is not None
        call.body = bytes(message.body)
        self.port.held_bytes -= message.body_bytes - len(call.body)  # a refused one is not kept
        self._message = Message()
        self._accepted = call.head if refusal is None else None
        self._start(call, refusal)

    def _start(self, call: Call, refusal: GnomonError | Refused | None = None) -> None:
        """Have a request answered that is there in full."""
        self._phase = Phase.IDLE if call.keep_alive else Phase.ENDED
        self.pace.due = inf
        self._held_bytes += len(call.body)
        self._calls.append(call)
        self.port.calls += 1
        if refusal is not None:
            call.refuse(refusal)
            return
        if call.head.accepted == self.port.heads_forgotten and call.head.answerer is not None:
            run(call.head.answerer, call)
        else:  # while the body was on its way, what is accepted has changed
            run(lambda call: self._accept(call)(call), call)

    def _accept(self, call: Call) -> Answerer:
        call.head.accepted = self.port.heads_forgotten
        call.head.answerer = answerer = self.port.handler.accept(call)
        return answerer

    def _take_known(self, head: Head, body: bytes) -> None:
        """Take a request whose head was accepted before."""
        port = self.port
        time_ns = time.time_ns()
        call = Call(self, head, port.request_ids.next(time_ns), time_ns, body)
        port.held_bytes += len(body)
        if port.held_bytes > limits.HELD_BYTES_MAX:
            self._start(call, bodies_too_large())
        else:
            self._start(call)

    # Input

    def _feed(self, data: bytes) -> None:
        """Parse piece by piece, stopping where this connection has to wait."""
        self._parsing = True
        for start in range(0, len(data), _PIECE_BYTES):
            if self._has_to_wait():
                self._unparsed = data[start:]
                break
            self._parse(data[start : start + _PIECE_BYTES])
            if self._phase is Phase.ENDED:
                break
        self._parsing = False
        if self._has_to_wait() and not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _has_to_wait(self) -> bool:
        return self._phase is not Phase.ENDED and (
            len(self._calls) >= limits.PIPELINED_REQUESTS_MAX
            or self._held_bytes > limits.CONNECTION_HELD_BYTES_MAX
            or self.pace.write_due < inf
        )

    def _parse(self, piece: bytes) -> None:
        while piece and self._phase is not Phase.ENDED:
            message, body_bytes = self._message, self._message.body_bytes
            try:
                self._parser.feed_data(piece)
            except HttpParserUpgrade as upgrade:
                # An offer to speak another protocol may be ignored (RFC 9110, section 7.8).
                piece = piece[upgrade.args[0] :]
                if self._message.call is not None:
                    self._parser = body_parser(self, self._message.headers)
                continue
            except HttpParserCallbackError as error:
                self._end_input(error.__context__)
            except HttpParserError:
                self._end_input(MalformedRequest("The request is not valid HTTP/1.1."))
            if self._message is message:
                refusal = message.add_other(len(piece) - (message.body_bytes - body_bytes))
                if refusal is not None:
                    self._end_input(refusal)
            return

    def _end_input(self, reason: BaseException | None, *, linger: bool = True) -> None:
        """Take nothing more; answer with the reason after the answers that are due before it."""
        if self._phase is Phase.ENDED:
            return
        call = self._message.call or self._make_call(http_10=False, keep_alive=False)
        self._drop_message()
        if not isinstance(reason, GnomonError | Refused):
            _LOG.error("request %s: reading it failed", call.request_id, exc_info=reason)
            reason = Internal(INTERNAL)
        call.keep_alive = False
        self._phase = Phase.ENDED
        self.pace.due = inf
        self._lingering = linger
        self._calls.append(call)
        self.port.calls += 1
        call.refuse(reason)

    def _drop_message(self) -> None:
        """Forget what has come of a request."""
        self.port.held_bytes -= self._message.body_bytes
        self._message = Message()
        self._continue_due = False

    def _make_call(self, *, http_10: bool, keep_alive: bool) -> Call:
        time_ns = time.time_ns()
        head = self._message.head(self._parser, http_10=http_10, keep_alive=keep_alive)
        return Call(self, head, self.port.request_ids.next(time_ns), time_ns)

    def _expect(self, expectation: bytes, call: Call) -> None:
        check_expectation(expectation)
        if self._message.refusal is not None:  # at once: the client waits for it with the body
            raise self._message.refusal
        if not call.head.http_10:
            self._continue_due = True
            self._write_continue()

    # Output

    def closes_after(self, call: Call) -> bool:
        """Say whether no further request is taken after this one's answer."""
        is_ending = self.port.draining or self._client_done
        return is_ending and self._calls[-1] is call and self._phase is Phase.IDLE

    def answered(self, call: Call, answer: bytes) -> None:
        """Write the answer when it is its turn."""
        self.port.calls -= 1
        self._hold(-len(call.body))
        call.body, call.answer_bytes = b"", answer
        is_alone = call.keep_alive and len(self._calls) == 1 and self._phase is Phase.IDLE
        if is_alone and not (
            self._reading_paused or self._client_done or self.pace.write_due < inf
        ):
            self._calls.clear()  # by far the most: nothing else is under way
            self._transport.write(answer)
            self.pace.next_request()
        else:
            self._hold(len(answer))
            self._write_answers()

    def _hold(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes
        self.port.held_bytes += more_bytes

    def _write_answers(self) -> None:
        calls = self._calls
        while calls and self.pace.write_due == inf and (answer := calls[0].answer_bytes):
            call = calls.popleft()
            self._hold(-len(answer))
            self._transport.write(answer)
            if not call.keep_alive:
                self._close()
                return
        if not calls and self._client_done:
            self._close()
            return
        if not calls and self._phase is Phase.IDLE:
            self.pace.next_request()
        self._write_continue()
        if self._reading_paused and not self._parsing and not self._has_to_wait():
            self._reading_paused = False
            data, self._unparsed = self._unparsed, b""
            self._transport.resume_reading()
            self._feed(data)

    def _write_continue(self) -> None:
        if self._continue_due and not self._calls and self._phase is Phase.BODY:
            self._continue_due = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _forget_calls(self) -> None:
        for call in self._calls:
            self.port.calls -= call.answer_bytes is None
            call.connection = None
        self._calls.clear()
        self._hold(-self._held_bytes)

    def _close(self) -> None:
        self._phase = Phase.ENDED
        self._forget_calls()
        lingers = self._lingering and not self._client_done and self._transport.can_write_eof()
        self.pace.end(linger=lingers)
        if not lingers:
            self._transport.close()
            return
        # Closing while the client still sends would reset the connection, and with it the answer.
        self._transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            self._unparsed = b""
            self._transport.resume_reading()

    def expire(self) -> None:
        """End what has taken too long."""
        if self.pace.is_taken(unsent_bytes(self._transport)):
            return  # slow, but taking its answer
        if self.pace.write_due < inf or self._phase is Phase.ENDED:
            self.abort()
        elif self._reading_paused:
            self.pace.head()  # not the client's fault
        elif self._phase is Phase.IDLE:
            self._transport.close()
        else:
            self._end_input(Refused(408, "The request did not arrive in time."))

    def drain(self) -> None:
        """Close now if nothing is under way, else after the answers."""
        if not self._calls and self._phase is Phase.IDLE:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()


class _InputEnded(Exception):
    """Stops the parser."""
