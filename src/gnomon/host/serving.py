"""A host at work: it answers the frames of its fronts, one run at a time."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from pathlib import Path

from gnomon.core import limits
from gnomon.core.frames import HEADER, Frame, FrameError, Kind, body_size, decode, encode
from gnomon.core.tensors import Array
from gnomon.host.onnx_scan import Refused
from gnomon.host.process import EXIT_DONE, EXIT_REFUSED, Descriptors, HostOrder, report
from gnomon.host.session import RunFailed, RunOutOfMemory, RunStopped, Session

_RECEIVE_BYTES = 256 * 1024
_NEVER = float("inf")
_TOO_LATE = "inference_timeout: the deadline was over before the run could start"
_STOPPED = "inference_timeout: the run was stopped at its deadline"


class Serving:
    """Loads one model, tells the supervisor, and serves until nobody needs it."""

    def __init__(self, order: HostOrder, descriptors: Descriptors) -> None:
        self._order = order
        self._status = descriptors.status
        self._listener = socket.socket(fileno=descriptors.listener)
        self._selector = selectors.DefaultSelector()
        self._received: dict[socket.socket, bytearray] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._session: Session | None = None
        self._deadline = _NEVER
        self._draining = False

    def run(self) -> int:
        """Load, warm up, serve; return the exit code."""
        try:
            session = self._session = Session(Path(self._order.model_path))
            with contextlib.suppress(RunFailed):
                # Warm: memory arenas are sized and lazy kernels made before the first caller.
                session.run(session.zeros())
        except Refused as refusal:
            report(self._status, state="failed", reason=refusal.message)
            return EXIT_REFUSED
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        report(self._status, state="ready")
        while not (self._draining and not self._received):
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._receive(key.fileobj, session)
                else:
                    os.read(self._wake_read, 16)
                    self._stop_listening()
        return EXIT_DONE

    def overdue_s(self, now: float) -> float:
        """Return how far the current run is past its deadline."""
        return now - self._deadline

    def stop_run(self) -> None:
        """Ask the current run to stop."""
        if self._session is not None:
            self._session.stop()

    def drain(self) -> None:
        """Take no new connections and end when the last one closes (from a signal handler)."""
        os.write(self._wake_write, b"d")

    def _stop_listening(self) -> None:
        if not self._draining:
            self._draining = True
            self._selector.unregister(self._listener)
            self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            connection.setblocking(True)
            if len(self._received) >= limits.HOST_FRONTS_MAX:
                connection.close()
                return
            self._received[connection] = bytearray()
            self._selector.register(connection, selectors.EVENT_READ)
            self._send(connection, Frame(Kind.HELLO, text=self._order.version_uuid))

    def _receive(self, connection: socket.socket, session: Session) -> None:
        try:
            data = connection.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        buffer = self._received[connection]
        buffer += data
        try:
            at = 0
            while len(buffer) - at >= HEADER.size:
                end = at + HEADER.size + body_size(memoryview(buffer)[at:])
                if len(buffer) < end:
                    break
                header = bytes(buffer[at : at + HEADER.size])
                body = bytes(buffer[at + HEADER.size : end])
                at = end
                self._send(connection, self._answer(decode(header, body), session))
            del buffer[:at]
        except FrameError:
            self._close(connection)

    def _answer(self, question: Frame, session: Session) -> Frame:
        if question.kind is not Kind.RUN:
            raise FrameError(f"a {question.kind.name} frame is not for a host")
        if len(question.tensors) != len(session.signature.inputs):
            return Frame(Kind.FAILED, question.request, 0, text="model_failed: wrong input count")
        started_ns = time.monotonic_ns()
        if started_ns > question.number:
            return Frame(Kind.FAILED, question.request, 0, text=_TOO_LATE)
        self._deadline = question.number / 1e9
        try:
            outputs = session.run(question.tensors)
        except RunOutOfMemory as failure:
            text = f"limit_reached: {failure}"
        except RunFailed as failure:
            text = f"model_failed: {failure}"
        except RunStopped:
            text = _STOPPED
        except MemoryError:
            text = "limit_reached: the run needs more memory than its host may have"
        else:
            text = _unsendable(outputs)
        finally:
            self._deadline = _NEVER
        elapsed_ns = time.monotonic_ns() - started_ns
        if text:
            return Frame(Kind.FAILED, question.request, elapsed_ns, text=text)
        return Frame(Kind.RESULT, question.request, elapsed_ns, outputs)

    def _send(self, connection: socket.socket, frame: Frame) -> None:
        try:
            connection.sendall(encode(frame))
        except OSError:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        if self._received.pop(connection, None) is not None:
            self._selector.unregister(connection)
            connection.close()


def _unsendable(outputs: tuple[Array, ...]) -> str:
    size = sum(output.nbytes for output in outputs)
    if size > limits.OUTPUT_BYTES_MAX - limits.MIB:
        return f"model_failed: {size} bytes of output; {limits.OUTPUT_BYTES_MAX} at most"
    if any(output.ndim > limits.TENSOR_RANK_MAX for output in outputs):
        return f"model_failed: an output with more than {limits.TENSOR_RANK_MAX} axes"
    return ""
