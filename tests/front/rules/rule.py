"""What a rule of HTTP is, for a server: these bytes have that outcome."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: A sentence.
        section: Where it stands: "9112 6.3" is RFC 9112, section 6.3; "limit" is none of HTTP's.
        sends: The request; `$HOST` stands for the server's own Host.
        gives: The statuses of the answers, then whether the connection is "open" or "closed" to
            a further request. "nothing": no answer, because the server waits for more.
        method: Of the request; an answer to HEAD has no body.
    """

    name: str
    section: str
    sends: bytes
    gives: str
    method: str = "POST"

    def __str__(self) -> str:
        return self.name
