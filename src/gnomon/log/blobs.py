"""Tensors that are too large for a table: files beside a pipeline's tables, named by their content.

`blobs/<first two digits>/<sha256>` is a .npy file, and its name the digest of all its bytes: what
was logged a thousand times is there once, and a file that was damaged is known for it. Written by
the flusher alone, before the rows that name it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np

from gnomon.core.tensors import Array
from gnomon.private_files import sync

DIRECTORY = "blobs"


def name_of(tensor: Array) -> str:
    """Return by what a row of a table names a tensor."""
    return _digest(_header(tensor), tensor)


class Blobs:
    """The large tensors of one pipeline's log.

    Args:
        directory: Of the pipeline's tables.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / DIRECTORY
        self._read: WeakValueDictionary[str, Array] = WeakValueDictionary()
        self._unsynced: set[Path] = set()

    def keep(self, tensor: Array) -> str:
        """Have a tensor stored; return its name. It is on the disk after `sync`.

        Args:
            tensor: Numbers or booleans, in C order.

        Raises:
            OSError: It is not stored.
        """
        header = _header(tensor)
        name = _digest(header, tensor)
        path = self._path(name)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == len(header) + tensor.nbytes:
                return name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as to:
                to.write(header)
                to.write(tensor.data)
                to.flush()
                os.fsync(to.fileno())
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        self._unsynced |= {path.parent, self._directory, self._directory.parent}
        return name

    def sync(self) -> None:
        """Have all that was kept on the disk, also under its name.

        Raises:
            OSError: It may not be.
        """
        for directory in self._unsynced:
            sync(directory)
        self._unsynced.clear()

    def tensor(self, name: str) -> Array:
        """Return a tensor, which is not to be changed: whoever asks at a time shares it.

        Raises:
            OSError, ValueError: It is missing or damaged.
        """
        known = self._read.get(name)
        if known is None:
            content = self._path(name).read_bytes()
            if hashlib.sha256(content).hexdigest() != name:
                raise ValueError(f"the tensor {name} is damaged")
            known = self._read[name] = _tensor(content)
        return known

    def sizes(self) -> Iterator[tuple[Path, int]]:
        """Yield the files that are there and their bytes, also those that a kill left half done."""
        for path in self._directory.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat().st_size

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name


def _header(tensor: Array) -> bytes:
    header = io.BytesIO()
    of = np.lib.format.header_data_from_array_1_0(tensor)
    np.lib.format.write_array_header_1_0(header, of)
    return header.getvalue()


def _tensor(content: bytes) -> Array:
    """Return the tensor of a file, in memory of its own: as long as a part is used, it is known."""
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    tensor = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape).copy()
    tensor.flags.writeable = False
    return tensor


def _digest(header: bytes, tensor: Array) -> str:
    found = hashlib.sha256(header)
    found.update(tensor.data)
    return found.hexdigest()
