"""Who calls, and what they may touch: the one place where both are decided."""

from __future__ import annotations

from datetime import UTC, datetime

from gnomon.core.access import Caller, Right, authenticate, bearer_token
from gnomon.core.errors import Conflict, NotFound
from gnomon.stores import pipelines, users, versions
from gnomon.stores.database import Database, Transaction
from gnomon.stores.records import Pipeline, PipelineVersionRecord, Workspace


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


def workspace_for(
    tx: Transaction, caller: Caller, workspace_id: int, *, adding: bool = False
) -> Workspace:
    """Return a workspace that the caller may touch. Everything below a workspace comes by here.

    Args:
        adding: Something is to be added to it, or deployed in it.

    Raises:
        NotFound: There is none, or not for this caller: it looks the same from outside.
        Conflict: It is archived, and so takes nothing more.
    """
    found = users.workspace(tx, workspace_id)
    if found is None:
        raise NotFound(f"There is no workspace {workspace_id}.", workspace=workspace_id)
    assert caller.rights  # every caller may touch every workspace, until there are roles
    if adding and found.archived:
        raise Conflict(
            f"The workspace {found.name!r} is archived: nothing is added to it or deployed in it. "
            "workspace.unarchive() brings it back.",
            workspace=found.name,
        )
    return found


def pipeline_for(
    tx: Transaction, caller: Caller, workspace_id: int, name: str, *, adding: bool = False
) -> Pipeline:
    """Return a pipeline of a workspace that the caller may touch.

    Args:
        adding: A version is to be added to it.

    Raises:
        NotFound: There is no such workspace, or no pipeline of that name in it.
        Conflict: See `workspace_for`.
    """
    workspace_for(tx, caller, workspace_id, adding=adding)
    found = pipelines.find_pipeline(tx, workspace_id, name)
    if found is None:
        raise NotFound(
            f"There is no pipeline {name[:80]!r} in workspace {workspace_id}.", pipeline=name[:80]
        )
    return found


def version_for(tx: Transaction, pipeline: Pipeline, version: str) -> PipelineVersionRecord:
    """Return one version of a pipeline.

    Args:
        version: Its uuid, or its number.

    Raises:
        NotFound: The pipeline has none like that.
    """
    found = versions.find_version(tx, pipeline.id, version)
    if found is None:
        raise NotFound(
            f"Pipeline {pipeline.name!r} has no version {version[:40]!r}.",
            pipeline=pipeline.name,
            version=version[:40],
        )
    return found
