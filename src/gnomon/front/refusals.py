"""Requests for which there is no room: refused cheaply, and never before others are served."""

from __future__ import annotations

import asyncio
from collections import deque

from gnomon.core import limits
from gnomon.core.errors import GnomonError
from gnomon.front.calls import Call, Port, error_body
from gnomon.http_errors import headers_of, status_of


class Refusals:
    """Refuses with one and the same error, some in each turn of the loop.

    A client that is refused at once may ask again at once: the loop would read and refuse, read
    and refuse, and not come to the requests that it has taken.

    Args:
        error: For each of them.
    """

    def __init__(self, error: GnomonError) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Call, Port]] = deque()
        self._status = status_of(error)
        self._headers = "".join(f"{k}: {v}\r\n" for k, v in headers_of(error).items()).encode()
        before, after = error_body(error, "#").split(b"#")
        self._body = before.replace(b"%", b"%%") + b"%b" + after.replace(b"%", b"%%")

    def add(self, call: Call) -> None:
        """Refuse a request in one of the next turns."""
        if call.connection is None:
            return  # its client has gone
        port = call.connection.port
        port.refused += 1
        self._waiting.append((call, port))
        if len(self._waiting) == 1:
            self._loop.call_soon(self._refuse_some)

    def _refuse_some(self) -> None:
        for _ in range(min(len(self._waiting), limits.REFUSALS_PER_TURN)):
            call, port = self._waiting.popleft()
            port.refused -= 1
            body = self._body % call.request_id.encode()
            call.answer(self._status, body, headers=self._headers)
        if self._waiting:
            self._loop.call_soon(self._refuse_some)
