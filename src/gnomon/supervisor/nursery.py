"""Asks the nursery for forks, and starts it anew when it died."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

from gnomon.core import limits
from gnomon.host.process import HostOrder

log = logging.getLogger(__name__)

_ANSWER_BYTES_MAX = 64 * limits.KIB


class NurseryGone(Exception):
    """The nursery did not answer; it is being started again."""


class NurseryRefused(Exception):
    """The nursery does not fork such a host; trying again would not help."""


class NurseryLine:
    """The supervisor's end of the socket to one nursery process."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._turn = asyncio.Lock()
        self._network_known = False  # how the hosts are kept from it is in the log

    def open(self) -> socket.socket:
        """Make a new pair of sockets and return the nursery's end, for it to inherit."""
        self.close()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        return theirs

    def close(self) -> None:
        """Close this end: a nursery that is still there leaves."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def fork(self, order: HostOrder, descriptors: list[int]) -> int:
        """Return the pid of a new host, which is this process's child.

        Raises:
            NurseryGone: No answer within `NURSERY_CALL_TIMEOUT_S`, or it died.
            NurseryRefused: The server was not started to run such models.
            OSError: The host could not be forked.
        """
        async with self._turn:
            line = self._socket
            if line is None:
                raise NurseryGone
            try:
                socket.send_fds(line, [order.to_bytes()], descriptors)
                loop = asyncio.get_running_loop()
                message = await asyncio.wait_for(
                    loop.sock_recv(line, _ANSWER_BYTES_MAX), limits.NURSERY_CALL_TIMEOUT_S
                )
            except (OSError, TimeoutError) as error:
                raise NurseryGone from error
        if not message:
            raise NurseryGone
        answer = json.loads(message)
        if "refused" in answer:
            raise NurseryRefused(answer["refused"])
        if "error" in answer:
            raise OSError(answer["error"])
        if not self._network_known:
            self._network_known = True
            level = logging.WARNING if answer["network"] == "none" else logging.INFO
            log.log(level, "nursery.isolated network=%s", answer["network"])
        return int(answer["pid"])
