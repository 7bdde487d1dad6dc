"""Requests that a read comes upon, before it is known whether the page has room for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gnomon.log.records import Record


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request that was found.

    Attributes:
        log: uuid of the write-ahead that it was logged in.
        place: Packed.
        time_us: When it arrived.
        record: Decodes it; None if nothing was found up to here, since the last candidate. Gives
            None if it is damaged, which was noted.
    """

    log: str
    place: int
    time_us: int
    record: Callable[[], Record | None] | None

    def order(self) -> tuple[int, str, int]:
        """Return what requests of several write-aheads are ordered by."""
        return self.time_us, self.log, self.place
