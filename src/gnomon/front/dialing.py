"""Getting and keeping a connection to a host that may not be there yet, or not any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gnomon.core import limits
from gnomon.front.link import Link, LinkOwner
from gnomon.unix_sockets import connect


class Dialer:
    """Connects to a host's socket, again and again with growing pauses.

    Args:
        path: The socket; nothing need listen there yet.
        owner: Whom the links report to.

    Attributes:
        link: The connection, until it is let go.
    """

    def __init__(self, path: Path, owner: LinkOwner) -> None:
        self._path = path
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._pause_s = limits.HOST_RECONNECT_MIN_S
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.link: Link | None = None

    def dial(self) -> None:
        """Connect now."""
        self._timer = None
        if self.link is not None or self._closed:
            return
        try:
            # Without a timeout, which on a unix socket means: at once or not at all.
            self.link = Link(self._owner, connect(self._path, timeout_s=0.0))
        except OSError:
            self.dial_later()

    def dial_later(self) -> None:
        """Connect after a pause, which doubles until `met`."""
        if self._closed or self._timer is not None:
            return
        self._timer = self._loop.call_later(self._pause_s, self.dial)
        self._pause_s = min(self._pause_s * 2, limits.HOST_RECONNECT_MAX_S)

    def met(self) -> None:
        """Note that the host at the other end is the right one: the next pause is short again."""
        self._pause_s = limits.HOST_RECONNECT_MIN_S

    def let_go(self) -> Link | None:
        """Close the link, without a report to its owner; return it if there was one."""
        link, self.link = self.link, None
        if link is not None:
            link.abandon()
        return link

    def close(self) -> None:
        """Connect no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
