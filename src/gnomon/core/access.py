"""Who may do what. Every route declares a right; every call is checked against it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gnomon.core.errors import Forbidden, Unauthenticated

TOKEN_PREFIX = "gno_"  # noqa: S105 (a prefix, not a secret)


class Right(StrEnum):
    """What a route needs its caller to be allowed."""

    READ = "read"
    INFER = "infer"
    WRITE = "write"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request.

    Attributes:
        user_id: The owner of the token.
        rights: What the owner may do, in every workspace.
    """

    user_id: int
    rights: frozenset[Right] = frozenset(Right)

    def require(self, right: Right) -> None:
        """Raise Forbidden unless the caller has `right`."""
        if right not in self.rights:
            raise Forbidden(f"This token has no right to {right.value}.", right=right.value)


def token_hash(token: str) -> str:
    """Return what is stored of a token: the hex SHA-256 of its text."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer_token(authorization: str | None) -> str:
    """Return the token of an Authorization header.

    Raises:
        Unauthenticated: There is none, or it is not a bearer token.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "This route needs a token: send 'Authorization: Bearer <token>'. "
            "'gnomon token' prints the one of this server."
        )
    return token.strip()


def authenticate(token: str, owners: Mapping[str, int]) -> Caller:
    """Return the caller that `token` stands for.

    Args:
        owners: Token hash to user id.

    Raises:
        Unauthenticated: The token is not known.
    """
    # Looked up by its hash: what timing could tell is about the hash, not about the token.
    user_id = owners.get(token_hash(token))
    if user_id is None:
        raise Unauthenticated(
            "This server does not know the token. 'gnomon token' prints the right one."
        )
    return Caller(user_id=user_id)
