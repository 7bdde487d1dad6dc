"""What the connections of one port share, and how long each may take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from gnomon.core import limits
from gnomon.front.calls import Handler, RequestIds


class Connected(Protocol):
    """One connection, as its port sees it.

    Attributes:
        deadline: Loop time at which `expire` is due; likewise `write_deadline`.
    """

    deadline: float
    write_deadline: float

    def expire(self) -> None:
        """End what has taken too long."""

    def drain(self) -> None:
        """Close now if nothing is under way, else after the answers."""

    def abort(self) -> None:
        """Close now, whatever is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTimers:
    """How long a client may take, in seconds."""

    head_s: float = limits.HEAD_TIMEOUT_S
    body_stall_s: float = limits.BODY_STALL_TIMEOUT_S
    keep_alive_s: float = limits.KEEP_ALIVE_S
    linger_s: float = limits.LINGER_S
    sweep_s: float = 1.0


@dataclass(slots=True, kw_only=True, eq=False)
class Port:
    """What the connections of one port share.

    Attributes:
        now: The loop's time at the last sweep: exact enough for timers of seconds.
        date_line: The Date header as a line, as of the last sweep.
        draining: No further request is taken.
        bodies_bytes: Sum of the request bodies in memory.
        empty: Set when the last connection has ended.
    """

    handler: Handler
    timers: HttpTimers
    now: float
    date_line: bytes = b""
    draining: bool = False
    bodies_bytes: int = 0
    connections: set[Connected] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    request_ids: RequestIds = field(default_factory=RequestIds)
