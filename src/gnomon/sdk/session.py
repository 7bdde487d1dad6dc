"""What every object of the SDK holds: the connection, and how it behaves toward the user."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.sdk.transport import Transport
from gnomon.sdk.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Session:
    """One client's connection.

    Attributes:
        timeout_s: Seconds that a deployment or an inference may take.
        interactive: Print what is being waited for.
    """

    transport: Transport
    timeout_s: float
    interactive: bool = True

    def waiting(
        self, what: str, up_to_s: float, *, at_once: bool = False, counting: bool = True
    ) -> Waiting:
        """Return a context that prints what is waited for; see `Waiting`."""
        return Waiting(what, up_to_s, at_once=at_once, shown=self.interactive, counting=counting)
