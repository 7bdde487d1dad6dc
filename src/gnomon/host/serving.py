"""A host at work: it answers the frames of its fronts, one run at a time."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from pathlib import Path

from gnomon.core import limits
from gnomon.core.frames import Frame, FrameError, Kind, encode
from gnomon.host.connection import Connection
from gnomon.host.loaded import LoadedModel, Refused, RunFailed, RunOutOfMemory, RunStopped
from gnomon.host.process import EXIT_DONE, EXIT_REFUSED, Descriptors, HostOrder, report
from gnomon.host.session import Session
from gnomon.host.watchdog import Watchdog

_TOO_LATE = "inference_timeout: the deadline was over before the run could start"
# A front that does not read must not keep this host from the others; struct timeval.
_SEND_TIMEOUT = struct.pack("ll", limits.HOST_SEND_TIMEOUT_S, 0)
_LONG_RUN_NS = 5_000_000  # a shorter one cannot have touched much memory


class Serving:
    """Loads one model, tells the supervisor, and serves until nobody needs it."""

    def __init__(self, order: HostOrder, descriptors: Descriptors) -> None:
        self._order = order
        self._status = descriptors.status
        self._listener = socket.socket(fileno=descriptors.listener)
        self._poll = select.epoll()
        self._fronts: dict[int, Connection] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._model: LoadedModel | None = None
        self._draining = False

    def run(self, watchdog: Watchdog) -> int:
        """Load, warm up, serve; return the exit code."""
        try:
            model = self._model = _load(self._order)
            model.warm_up()
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
                    self._serve(front, model, watchdog)
                elif descriptor == wake:
                    os.read(wake, 16)
                    self._stop_listening()
                elif descriptor == listener and not self._draining:
                    self._accept()
        return EXIT_DONE

    def stop_run(self) -> None:
        """Ask the current run to stop."""
        if self._model is not None:
            self._model.stop()

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
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
            if len(self._fronts) >= limits.HOST_FRONTS_MAX:
                connection.close()
                return
            self._fronts[connection.fileno()] = Connection(connection)
            self._poll.register(connection.fileno(), select.EPOLLIN)
            with contextlib.suppress(OSError):  # it has gone; reading tells
                connection.sendall(encode(Frame(Kind.HELLO, text=self._order.version_uuid)))

    def _serve(self, front: Connection, model: LoadedModel, watchdog: Watchdog) -> None:
        """Answer what a front has sent."""
        try:
            alive = front.read()
            while (question := front.next_frame()) is not None:
                _answer(front, question, model, watchdog)
        except (OSError, ValueError, MemoryError):  # it is gone, or sent what makes no sense
            alive = False
        if not alive:
            del self._fronts[front.fileno()]
            self._poll.unregister(front.fileno())
            front.close()


def _load(order: HostOrder) -> LoadedModel:
    path = Path(order.model_path)
    if order.declared is None:
        return Session(path, order.threads)
    from gnomon.host.python_model import PythonModel

    return PythonModel(path, order.declared)


def _answer(front: Connection, question: Frame, model: LoadedModel, watchdog: Watchdog) -> None:
    if question.kind is not Kind.RUN:
        raise FrameError(f"a {question.kind.name} frame is not for a host")
    number, deadline_ns = question.request, question.number
    started_ns = time.monotonic_ns()
    if started_ns > deadline_ns:
        front.send_failure(number, 0, _TOO_LATE)
        return
    watchdog.begin(deadline_ns)
    text = ""
    try:
        outputs = model.run(question.tensors)
    except (RunFailed, RunStopped, MemoryError) as failure:
        text = _text_of(failure)
    finally:
        watchdog.end()
    elapsed_ns = time.monotonic_ns() - started_ns
    if not text:
        try:
            front.send_result(number, elapsed_ns, outputs, question.generation)
        except (FrameError, MemoryError) as failure:
            text = _text_of(failure)
    if text:
        front.send_failure(number, elapsed_ns, text)
    if elapsed_ns > _LONG_RUN_NS:
        model.settle()


def _text_of(failure: Exception) -> str:
    """Return what a front is told of a run that failed: an error code and a text."""
    match failure:
        case RunStopped():
            return "inference_timeout: the run was stopped at its deadline"
        case MemoryError():
            return "limit_reached: the run needs more memory than its host may have"
        case RunOutOfMemory():
            return f"limit_reached: {failure}"
        case FrameError():
            return f"model_failed: its outputs cannot be sent: {failure}"
        case _:
            return f"model_failed: {failure}"
