"""Counts that outlive their front: in a mapped file, which a killed process leaves behind."""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection
from pathlib import Path

from gnomon.core import limits

Counts = memoryview  # of 64-bit integers

_NAME_BYTES = 128
_NUMBER_BYTES = 8


class CountsFile:
    """Numbers by name, for one front; the next front of that index finds them as they stood.

    Args:
        path: Made if it is not there. A file of another size is begun anew.
        width: How many numbers a name has.
    """

    def __init__(self, path: Path, width: int) -> None:
        self._width = width
        self._slot_bytes = _NAME_BYTES + width * _NUMBER_BYTES
        size = limits.COUNTED_MODELS_MAX * self._slot_bytes
        with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            if os.fstat(file.fileno()).st_size != size:
                file.truncate(0)
                file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._slots: dict[str, int] = {}
        for slot in range(limits.COUNTED_MODELS_MAX):
            if name := self._name(slot):
                self._slots[name] = slot

    def of(self, name: str) -> Counts:
        """Return the numbers of a name, to be changed in place: all 0 if it is new.

        Where there is no room left they are numbers of this process alone.
        """
        text = name.encode()
        slot = self._slots.get(name)
        if slot is None:
            slot = self._free()
            if slot is None or len(text) > _NAME_BYTES:
                return new_counts(self._width)
            self._slots[name] = slot
            start = slot * self._slot_bytes
            self._map[start : start + self._slot_bytes] = text.ljust(self._slot_bytes, b"\0")
        start = slot * self._slot_bytes + _NAME_BYTES
        numbers = memoryview(self._map)[start : start + self._width * _NUMBER_BYTES]
        return numbers.cast("q")

    def keep(self, names: Collection[str]) -> None:
        """Forget all other names."""
        for name in self._slots.keys() - set(names):
            start = self._slots.pop(name) * self._slot_bytes
            self._map[start : start + _NAME_BYTES] = bytes(_NAME_BYTES)

    def _name(self, slot: int) -> str:
        start = slot * self._slot_bytes
        text = self._map[start : start + _NAME_BYTES].rstrip(b"\0")
        return text.decode(errors="replace")

    def _free(self) -> int | None:
        taken = set(self._slots.values())
        return next((n for n in range(limits.COUNTED_MODELS_MAX) if n not in taken), None)


def new_counts(width: int) -> Counts:
    """Return numbers that are in no file, all 0."""
    return memoryview(bytearray(width * _NUMBER_BYTES)).cast("q")
