"""The host's end of memory that a front shares with it; see `core.frames`."""

from __future__ import annotations

import mmap
import os
import resource

from gnomon.core.frames import Area


class Buffers:
    """A pair of memory files, mapped: inputs are read where they lie, outputs written there.

    Args:
        generation: Of the pair, on its connection.
        descriptors: To the host, from the host; closed here.

    Raises:
        OSError, ValueError: They are not two files that can be mapped.
    """

    def __init__(self, generation: int, descriptors: list[int]) -> None:
        self._size = 0
        try:
            to_host, from_host = descriptors
            inputs = self._map(to_host, mmap.ACCESS_READ)
            outputs = self._map(from_host, mmap.ACCESS_WRITE)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.inputs = Area(generation, inputs)
        self.outputs = Area(generation, outputs)

    def _map(self, descriptor: int, access: int) -> memoryview:
        size = os.fstat(descriptor).st_size
        _allow(size)
        self._size += size
        return memoryview(mmap.mmap(descriptor, size, access=access))

    def __del__(self) -> None:
        _allow(-self._size)


def _allow(size: int) -> None:
    """Count mapped memory on top of what the model may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (min(soft + size, hard), hard))
