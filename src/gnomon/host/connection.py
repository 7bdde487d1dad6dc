"""One front's connection to this host: frames in, answers out."""

from __future__ import annotations

import array
import socket

from gnomon.core import limits
from gnomon.core.frames import (
    HEADER,
    Frame,
    Kind,
    Packed,
    body_size,
    decode,
    encode,
    encode_one,
    pack,
)
from gnomon.core.tensors import Array
from gnomon.host.buffers import Buffers

_BYTES = 64 * limits.KIB
_DESCRIPTOR_BYTES = array.array("i").itemsize
_RIGHTS_BYTES = socket.CMSG_SPACE(2 * _DESCRIPTOR_BYTES)


class Connection:
    """A front's connection, and the bytes of it that are not yet whole frames.

    What is received stays in one buffer, made once: tensors are used where they lie there, or in
    the memory that the front shares.

    Args:
        connection: A blocking stream socket, this object's from now on.

    Attributes:
        shared: The memory that the front has shared last.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = memoryview(bytearray(_BYTES))
        self._start = self._end = 0  # what of the buffer is not yet used
        self.shared: Buffers | None = None

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, and let go of the front's memory."""
        self._socket.close()
        self.shared = None

    def read(self) -> bool:
        """Receive what is there; false at the end of the connection.

        Raises:
            FrameError: What was received is no frame.
            OSError: The connection is broken, or what came with it cannot be mapped.
        """
        if self._start or self._end:
            self._make_room()
        room = self._buffer[self._end :] if self._end else self._buffer
        count, ancillary, _, _ = self._socket.recvmsg_into(
            (room,), _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC
        )
        self._end += count
        if ancillary:
            descriptors = array.array("i", ancillary[0][2])
            generation = 1 if self.shared is None else self.shared.inputs.generation + 1
            self.shared = None  # gone before the larger pair is mapped
            self.shared = Buffers(generation, list(descriptors))
        return count > 0

    def _make_room(self) -> None:
        """Have room for the rest of the next frame."""
        rest = self._end - self._start
        needed = HEADER.size
        if rest >= HEADER.size:
            needed += body_size(self._buffer, self._start)
        if needed > len(self._buffer) or (not rest and len(self._buffer) > _BYTES):
            buffer = memoryview(bytearray(max(needed, _BYTES)))
            buffer[:rest] = self._buffer[self._start : self._end]
            self._buffer = buffer
        elif self._start:
            self._buffer[:rest] = self._buffer[self._start : self._end]
        self._start, self._end = 0, rest

    def next_frame(self) -> Frame | None:
        """Return the next whole frame; its tensors are good until the next `read`.

        Raises:
            FrameError: What was received is no frame.
        """
        if self._start == self._end:
            return None
        area = None if self.shared is None else self.shared.inputs
        decoded = decode(self._buffer[: self._end], self._start, area)
        if decoded is None:
            return None
        frame, self._start = decoded
        return frame

    def send_result(
        self, request: int, elapsed_ns: int, outputs: tuple[Array, ...], generation: int
    ) -> None:
        """Send outputs.

        Args:
            generation: Of the buffers that the question lent; 0 for none.

        Raises:
            FrameError: They are more than a frame takes; nothing was sent.
            OSError: The connection is broken.
        """
        frame = encode_one(Kind.RESULT, request, elapsed_ns, outputs)
        if frame is None:
            frame = self._frame(pack(outputs), request, elapsed_ns, generation)
        self._socket.sendall(frame)

    def _frame(self, packed: Packed, request: int, elapsed_ns: int, generation: int) -> bytes:
        """Return the frame of an answer, with its data in the buffer if there is one for it."""
        area = None if self.shared is None else self.shared.outputs
        if (
            area is None
            or area.generation != generation
            or not limits.BUFFER_FROM_BYTES <= packed.size <= len(area.memory)
        ):
            return packed.inline(Kind.RESULT, request, elapsed_ns)
        return packed.into(area, Kind.RESULT, request, elapsed_ns)

    def send_failure(self, request: int, elapsed_ns: int, text: str) -> None:
        """Send why there are no outputs.

        Raises:
            OSError: The connection is broken.
        """
        self._socket.sendall(encode(Frame(Kind.FAILED, request, elapsed_ns, text=text)))
