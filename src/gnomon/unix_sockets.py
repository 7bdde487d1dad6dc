"""Unix sockets with paths of any length, and file descriptors sent over them.

A socket's path may have 107 bytes at most; a data directory may be deeper than that. So sockets
are named relative to an open descriptor of their directory, through /proc/self/fd.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gnomon.core import limits
from gnomon.core.errors import ServerUnreachable

SOCKET_MODE = 0o600
DIRECTORY_MODE = 0o700


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name for `path` that is short enough for bind and connect."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: Path, *, backlog: int = 64) -> socket.socket:
    """Make a listening stream socket at `path`, replacing a stale one; only its owner may connect.

    Raises:
        OSError: The directory is missing or not writable.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            listener.bind(name)
        path.chmod(SOCKET_MODE)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def connect(path: Path, *, timeout_s: float) -> socket.socket:
    """Connect to the stream socket at `path`.

    Raises:
        OSError: Nothing listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with short_path(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


def ask(path: Path, order: dict[str, Any], *, whom: str, timeout_s: float) -> dict[str, Any]:
    """Send one order as a JSON line over a connection of its own, and return the answer.

    Args:
        whom: "the supervisor", for messages.

    Raises:
        ServerUnreachable: Nobody listens, or there is no answer in time.
    """
    try:
        with connect(path, timeout_s=timeout_s) as connection:
            connection.sendall(json.dumps(order).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(limits.CONTROL_MESSAGE_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise ServerUnreachable(f"{whom.capitalize()} does not answer.") from error
    return dict(answer)
