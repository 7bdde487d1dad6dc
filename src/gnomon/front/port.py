"""What the connections of one port share, and how long each may take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from gnomon.core import limits
from gnomon.front.calls import Handler, Head, RequestIds
from gnomon.front.framing import is_repeatable


class Paced(Protocol):
    """What is to happen by a certain time."""

    def is_over(self, now: float) -> bool:
        """Say whether it is late."""


class Connected(Protocol):
    """One connection, as its port sees it."""

    @property
    def pace(self) -> Paced:
        """Say when `expire` is due."""

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
    drain_grace_s: float = limits.DRAIN_GRACE_S
    sweep_s: float = 1.0


@dataclass(slots=True, kw_only=True, eq=False)
class Port:
    """What the connections of one port share.

    Attributes:
        now: The loop's time at the last sweep: exact enough for timers of seconds.
        date_line: The Date header as a line, as of the last sweep.
        draining: After the answers that are due the connections are closed.
        held_bytes: Of the request bodies in memory, and of the answers not yet taken.
        calls: Requests that have been received and have no answer yet.
        refused: Those of them that will be refused.
        heads: What the handler accepted, by the bytes of the head: a client says the same again
            and again, and what was parsed and looked at once need not be again.
        heads_forgotten: How often they were forgotten.
        empty: Set when the last connection has ended.
    """

    handler: Handler
    timers: HttpTimers
    now: float
    date_line: bytes = b""
    draining: bool = False
    held_bytes: int = 0
    calls: int = 0
    refused: int = 0
    heads: dict[bytes, Head] = field(default_factory=dict)
    heads_forgotten: int = 0
    connections: set[Connected] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    request_ids: RequestIds = field(default_factory=RequestIds)

    @property
    def is_crowded(self) -> bool:
        """Say whether more requests wait than may."""
        return self.calls - self.refused > limits.REQUESTS_WAITING_MAX

    def remember(self, data: bytes, head_end: int, head: Head | None) -> None:
        """Keep a head that was accepted, if it and its body are all that came at once.

        Args:
            data: What the parser took for one or several requests, the last of which ends here.
            head_end: Behind its first empty line; 0 if a request began before `data`. Where the
                body of the last request is as long as what is left, there is one request and this
                is where its head ended, wherever else in `data` an empty line may stand.
            head: Of the last request, if it was accepted.
        """
        if head is None or not head_end or len(data) != head_end + head.body_bytes:
            return
        if not is_repeatable(head):
            return
        if len(self.heads) >= limits.HEADS_KEPT_MAX:
            self.heads.clear()
        if head_end <= limits.HEAD_BYTES_KEPT_MAX:
            self.heads[data[:head_end]] = head

    def forget_heads(self) -> None:
        """Look at every head anew from now on."""
        self.heads.clear()
        self.heads_forgotten += 1
