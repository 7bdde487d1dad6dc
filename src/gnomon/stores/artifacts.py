"""Model files, each in a directory of its own that is named by its sha256."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gnomon.core import limits
from gnomon.core.errors import BodyTooLarge, OutOfSpace

log = logging.getLogger(__name__)

_FILE = "model.onnx"
_INCOMING = "incoming"
_SHA256 = re.compile("[0-9a-f]{64}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file in the store.

    Attributes:
        sha256: Hex digest of its bytes.
    """

    sha256: str
    size_bytes: int
    path: Path


class Artifacts:
    """The model files below one directory.

    A file is written beside the others under a random name and renamed when all of it is on the
    disk: at any moment a sha256 has the whole file or none. A model finds nothing else in its
    directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / _INCOMING
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keeping = threading.Lock()

    def path(self, sha256: str) -> Path:
        """Return where the file with this digest is, or would be."""
        return self._directory / sha256 / _FILE

    def begin(self, *, bytes_max: int = limits.MODEL_BYTES_MAX) -> IncomingArtifact:
        """Start to receive a file.

        Raises:
            OutOfSpace: The disk is full.
        """
        return IncomingArtifact(self, self._incoming / uuid.uuid4().hex, bytes_max)

    def keep(self, directory: Path, sha256: str, size_bytes: int) -> Path:
        """Give a complete directory its name, unless its file is there already; return the file."""
        kept = self.path(sha256)
        with self._keeping:
            if _size(kept) != size_bytes:
                shutil.rmtree(kept.parent, ignore_errors=True)  # a damaged one
                directory.rename(kept.parent)
                _fsync_directory(self._directory)
        return kept

    def kept(self) -> list[str]:
        """Return the sha256 of every file that is there."""
        return sorted(
            path.name for path in self._directory.iterdir() if _SHA256.fullmatch(path.name)
        )

    def remove(self, sha256: str) -> None:
        """Remove a file; none is fine."""
        shutil.rmtree(self._directory / sha256, ignore_errors=True)

    def sweep(self) -> int:
        """Remove what was being received when the process ended; return how many files that is."""
        stale = list(self._incoming.iterdir())
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        if stale:
            log.info("artifacts.swept files=%d", len(stale))
        return len(stale)


class IncomingArtifact:
    """A file that is being received: `write` its pieces, then `commit`, or `discard` it.

    Not for several threads at once.
    """

    def __init__(self, store: Artifacts, directory: Path, bytes_max: int) -> None:
        self._store = store
        self._directory = directory
        self._bytes_max = bytes_max
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        with _full_disk():
            directory.mkdir(mode=0o700)
            self._file = (directory / _FILE).open("xb", buffering=0)

    @property
    def sha256(self) -> str:
        """Return the hex digest of what was written so far."""
        return self._digest.hexdigest()

    def write(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            BodyTooLarge: The file would have more than `bytes_max`.
            OutOfSpace: The disk is full.
        """
        self.size_bytes += len(piece)
        if self.size_bytes > self._bytes_max:
            raise BodyTooLarge(
                f"The model file has more than {self._bytes_max:,} bytes, the most that one "
                "may have.",
                limit=self._bytes_max,
            )
        self._digest.update(piece)
        with _full_disk():
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]

    def commit(self) -> Artifact:
        """Keep the file under its sha256, once it is on the disk.

        Raises:
            OutOfSpace: The disk is full.
        """
        sha256 = self.sha256
        with _full_disk():
            os.fsync(self._file.fileno())
            self._file.close()
            (self._directory / _FILE).chmod(0o400)
            _fsync_directory(self._directory)
            path = self._store.keep(self._directory, sha256, self.size_bytes)
        self.discard()
        return Artifact(sha256=sha256, size_bytes=self.size_bytes, path=path)

    def discard(self) -> None:
        """Forget the file; does nothing after `commit`."""
        self._file.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfSpace(
                "The disk is full: the file was not kept. Free some space and try again."
            ) from error
        raise
