"""A host without a model: a thread behind a real unix socket that speaks frames, or lies."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gnomon import unix_sockets
from gnomon.core.frames import Frame, Kind, encode
from gnomon.host.connection import Connection

Answer = Callable[[Frame], Frame | bytes | None]


def doubles(question: Frame) -> Frame:
    """Answer with twice the first input."""
    return Frame(Kind.RESULT, question.request, 1_000, (question.tensors[0] * 2,))


def fails(question: Frame) -> Frame:
    """Answer as a model does that raises an error."""
    return Frame(Kind.FAILED, question.request, 2_000, text="model_failed: division by zero")


def hangs(question: Frame) -> None:
    """Answer nothing."""


class StubHost:
    """Answers every RUN frame with what `answer` says, one at a time.

    Args:
        uuid: Said in HELLO; None: HELLO is never sent.
        answer: From a question to a frame, raw bytes, or None for no answer.

    Attributes:
        questions: What was asked, tensors copied.
        front: The newest connection, with the memory that the front shares.
    """

    def __init__(self, path: Path, uuid: str | None, answer: Answer = doubles) -> None:
        self.path = path
        self.uuid = uuid
        self.answer = answer
        self.questions: list[Frame] = []
        self.connections: list[socket.socket] = []
        self.front: Connection | None = None
        self._listener: socket.socket | None = None

    def start(self) -> StubHost:
        """Listen; also again after `kill`."""
        self._listener = unix_sockets.listen(self.path)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def kill(self) -> None:
        """End as a killed process does: every socket closes at once."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connections, and go on listening."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def send(self, message: Frame | bytes) -> None:
        """Send something unasked on the newest connection."""
        self.connections[-1].sendall(message if isinstance(message, bytes) else encode(message))

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.front = front = Connection(connection)
        with contextlib.suppress(OSError), connection:
            if self.uuid is not None:
                connection.sendall(encode(Frame(Kind.HELLO, text=self.uuid)))
            while front.read():
                while (read := front.next_frame()) is not None:
                    question = read._replace(tensors=tuple(map(np.copy, read.tensors)))
                    self.questions.append(question)
                    answer = self.answer(question)
                    if isinstance(answer, Frame) and answer.kind is Kind.RESULT:
                        front.send_result(
                            answer.request, answer.number, answer.tensors, question.generation
                        )
                    elif answer is not None:
                        connection.sendall(answer if isinstance(answer, bytes) else encode(answer))
