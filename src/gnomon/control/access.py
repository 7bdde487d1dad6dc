"""Who calls, and what they may touch: the one place where both are decided."""

from __future__ import annotations

from datetime import UTC, datetime

from gnomon.core.access import Caller, Right, authenticate, bearer_token
from gnomon.core.errors import NotFound
from gnomon.stores import users
from gnomon.stores.database import Database, Transaction
from gnomon.stores.records import Workspace


class Access:
    """The tokens of this server, kept in memory: no call waits for the database to be let in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owners: dict[str, int] = {}

    def ensure_owner(self, token_hash: str) -> None:
        """Make the owner, its default workspace and its token, where they are missing.

        Args:
            token_hash: Of the token in the owner's file; it replaces the one before.
        """
        with self._database.write() as tx:
            users.ensure_owner(tx, token_hash, datetime.now(UTC))
        self.reload()

    def reload(self) -> None:
        """Read the tokens again."""
        with self._database.read() as tx:
            self._owners = users.token_owners(tx)

    def admit(self, authorization: str | None, right: Right) -> Caller:
        """Return who sends this Authorization header.

        Raises:
            Unauthenticated: It has no token, or one that is not known.
            Forbidden: The token's owner does not have the right.
        """
        caller = authenticate(bearer_token(authorization), self._owners)
        caller.require(right)
        return caller


def workspace_for(tx: Transaction, caller: Caller, workspace_id: int) -> Workspace:
    """Return a workspace that the caller may touch. Everything below a workspace comes by here.

    Raises:
        NotFound: There is none, or not for this caller: it looks the same from outside.
    """
    found = users.workspace(tx, workspace_id)
    if found is None:
        raise NotFound(f"There is no workspace {workspace_id}.", workspace=workspace_id)
    assert caller.rights  # every caller may touch every workspace, until there are members
    return found
