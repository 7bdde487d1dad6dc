"""Memory that a front shares with one host, for tensors too large for the socket.

The front makes it and hands it over; a host can neither make, shrink nor grow it, so that the front
is never killed by touching what is not there any more. A host can write into it at any time: the
front copies out what it will use, and never believes what it reads twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os

from gnomon.core import limits
from gnomon.core.frames import Area

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Buffers:
    """A pair of sealed memory files of one size: to the host, from the host.

    Args:
        generation: Tells this pair from the ones before it on the same connection.
        size: Of each, in bytes.

    Attributes:
        descriptors: Of the pair, until `passed`.

    Raises:
        OSError: The system is out of memory or descriptors.
    """

    def __init__(self, generation: int, size: int) -> None:
        self.size = size
        self.descriptors: tuple[int, ...] = ()
        try:
            maps = [self._make(name) for name in ("to-host", "from-host")]
        except OSError:
            self.passed()
            raise
        self._maps = maps
        self.to_host, self.from_host = (Area(generation, memoryview(part)) for part in maps)

    def _make(self, name: str) -> mmap.mmap:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.descriptors += (descriptor,)
        os.truncate(descriptor, self.size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return mmap.mmap(descriptor, self.size)

    def passed(self) -> None:
        """Close the descriptors: the host has them now, or never will."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()

    def rest(self) -> None:
        """Give the memory back to the system until it is used again; what was in it is lost."""
        for part in self._maps:
            with contextlib.suppress(OSError):
                part.madvise(mmap.MADV_REMOVE)


def size_for(needed: int) -> int:
    """Return how large a pair is made for frames with `needed` bytes of data."""
    return max(limits.BUFFER_BYTES_MIN, 1 << (needed - 1).bit_length())
