"""A host at work: it answers the frames of its fronts, one run at a time."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from gnomon.core import limits
from gnomon.core.frames import HEADER, Frame, FrameError, Kind, body_size, decode, encode
from gnomon.core.tensors import Array
from gnomon.host.onnx_scan import Refused
from gnomon.host.process import EXIT_DONE, EXIT_REFUSED, Descriptors, HostOrder, report
from gnomon.host.session import RunFailed, RunOutOfMemory, RunStopped, Session

_BUFFER_BYTES = 64 * limits.KIB
_NEVER = float("inf")
_TOO_LATE = "inference_timeout: the deadline was over before the run could start"
_STOPPED = "inference_timeout: the run was stopped at its deadline"


class Serving:
    """Loads one model, tells the supervisor, and serves until nobody needs it."""

    def __init__(self, order: HostOrder, descriptors: Descriptors) -> None:
        self._order = order
        self._status = descriptors.status
        self._listener = socket.socket(fileno=descriptors.listener)
        self._poll = select.epoll()
        self._fronts: dict[int, _Front] = {}
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
        listener, wake = self._listener.fileno(), self._wake_read
        self._poll.register(listener, select.EPOLLIN)
        self._poll.register(wake, select.EPOLLIN)
        report(self._status, state="ready")
        while not (self._draining and not self._fronts):
            for descriptor, _ in self._poll.poll():
                front = self._fronts.get(descriptor)
                if front is not None:
                    self._receive(front, session)
                elif descriptor == wake:
                    os.read(wake, 16)
                    self._stop_listening()
                elif descriptor == listener and not self._draining:
                    self._accept()
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
            self._poll.unregister(self._listener.fileno())
            self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            connection.setblocking(True)
            if len(self._fronts) >= limits.HOST_FRONTS_MAX:
                connection.close()
                return
            front = self._fronts[connection.fileno()] = _Front(connection)
            self._poll.register(connection.fileno(), select.EPOLLIN)
            self._send(front, Frame(Kind.HELLO, text=self._order.version_uuid))

    def _receive(self, front: _Front, session: Session) -> None:
        try:
            if not front.read():
                self._close(front)
                return
            for header, body in front.frames():
                self._send(front, self._answer(decode(header, body), session))
        except (OSError, FrameError):
            self._close(front)

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

    def _send(self, front: _Front, frame: Frame) -> None:
        try:
            front.connection.sendall(encode(frame))
        except OSError:
            self._close(front)

    def _close(self, front: _Front) -> None:
        if self._fronts.pop(front.connection.fileno(), None) is not None:
            self._poll.unregister(front.connection.fileno())
            front.connection.close()


class _Front:
    """One front's connection, and the bytes of it that are not yet whole frames.

    The buffer is made once and grows: a large one made for each read would be mapped into the
    process and out again each time.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray(_BUFFER_BYTES)
        self._filled = 0

    def read(self) -> bool:
        """Receive what is there; false at the end of the connection.

        Raises:
            OSError: The connection is broken.
        """
        with memoryview(self._buffer) as buffer:
            count = self.connection.recv_into(buffer[self._filled :])
        self._filled += count
        return count > 0

    def frames(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the header and body of each whole frame, and make room for the next one.

        Raises:
            FrameError: What was received is no frame.
        """
        start, needed = 0, HEADER.size
        while self._filled - start >= HEADER.size:
            header = bytes(self._buffer[start : start + HEADER.size])
            needed = HEADER.size + body_size(header)
            if self._filled - start < needed:
                break
            yield header, bytes(self._buffer[start + HEADER.size : start + needed])
            start, needed = start + needed, HEADER.size
        rest = self._filled - start
        if start:
            self._buffer[:rest] = self._buffer[start : self._filled]
            self._filled = rest
        if needed > len(self._buffer):
            self._buffer.extend(bytes(needed - len(self._buffer)))


def _unsendable(outputs: tuple[Array, ...]) -> str:
    size = sum(output.nbytes for output in outputs)
    if size > limits.OUTPUT_BYTES_MAX - limits.MIB:
        return f"model_failed: {size} bytes of output; {limits.OUTPUT_BYTES_MAX} at most"
    if any(output.ndim > limits.TENSOR_RANK_MAX for output in outputs):
        return f"model_failed: an output with more than {limits.TENSOR_RANK_MAX} axes"
    return ""
