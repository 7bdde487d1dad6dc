"""Lines that a host writes to a pipe, read as they come and to the last one when it has died."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from gnomon.core import limits

_READ_BYTES = 64 * limits.KIB


class LinePipe:
    """The read end of a pipe.

    Args:
        descriptor: Owned by this object from now on.
        take: Called with whole lines, without their ends.
        cut: Take a long line in pieces, and what is left without an end; otherwise it is dropped,
            and a line of more than `HOST_STATUS_BYTES_MAX` closes the pipe.
    """

    def __init__(
        self, descriptor: int, take: Callable[[list[bytearray]], None], *, cut: bool = False
    ) -> None:
        self._descriptor: int | None = descriptor
        self._take = take
        self._cut = cut
        self._buffer = bytearray()
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def finish(self) -> None:
        """Read what is left of a process that has died, and close."""
        while self._descriptor is not None and self._read():
            pass
        self._close()

    def _read(self) -> bool:
        assert self._descriptor is not None
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if self._cut and self._buffer and (not data or len(self._buffer) > _READ_BYTES):
            lines.append(self._buffer)
            self._buffer = bytearray()
        if not data or len(self._buffer) > limits.HOST_STATUS_BYTES_MAX:
            self._close()
        if lines:
            self._take(lines)
        return bool(data)

    def _close(self) -> None:
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
