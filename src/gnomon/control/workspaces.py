"""Workspaces: making, archiving and deleting them, and who may use them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from gnomon.control.access import workspace_for
from gnomon.control.uses import check_nothing_runs
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.errors import Conflict, LimitReached, NotFound
from gnomon.core.names import check_name, check_user_name
from gnomon.stores import users
from gnomon.stores.database import Database
from gnomon.stores.deletion import delete_workspace
from gnomon.stores.records import Member, MemberRole, User, Workspace

log = logging.getLogger(__name__)


class Workspaces:
    """Where models and pipelines have their names, and who is in there.

    Members and their roles are kept; what they may do is not decided by them yet.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, caller: Caller) -> list[Workspace]:
        """Return the caller's workspaces, oldest first."""
        assert caller.rights
        with self._database.read() as tx:
            return users.all_workspaces(tx)

    def add(self, caller: Caller, name: str) -> Workspace:
        """Make a workspace, which its maker owns.

        Raises:
            InvalidName, LimitReached.
            Conflict: The name is taken.
        """
        check_name("workspace", name)
        with self._database.write() as tx:
            taken = users.find_workspace(tx, name)
            if taken is not None:
                raise Conflict(f"There is a workspace {taken.name!r} already.", name=taken.name)
            if users.count_workspaces(tx) >= limits.WORKSPACES_MAX:
                raise LimitReached(f"{limits.WORKSPACES_MAX} workspaces are the most there can be.")
            return users.add_workspace(tx, name, caller.user_id, datetime.now(UTC))

    def default(self, caller: Caller) -> Workspace:
        """Return the caller's own workspace, made if it is missing."""
        with self._database.read() as tx:
            found = users.own_workspace(tx, caller.user_id)
        if found is not None:
            return found
        with self._database.write() as tx:
            return users.default_workspace(tx, caller.user_id, datetime.now(UTC))

    def get(self, caller: Caller, workspace_id: int) -> Workspace:
        """Return a workspace.

        Raises:
            NotFound: There is none.
        """
        with self._database.read() as tx:
            return workspace_for(tx, caller, workspace_id)

    def set_archived(self, caller: Caller, workspace_id: int, archived: bool) -> Workspace:
        """Archive a workspace, so that nothing is added to it or deployed in it; or bring it back.

        Raises:
            NotFound: There is none.
            Conflict: Something is deployed in it, or it is a user's own.
        """
        with self._database.write() as tx:
            found = workspace_for(tx, caller, workspace_id)
            if archived:
                if users.is_somebodys_own(tx, workspace_id):
                    raise Conflict(
                        f"{found.name!r} is the default workspace of a user, and stays.",
                        workspace=found.name,
                    )
                check_nothing_runs(tx, found, "archived")
            users.set_archived(tx, workspace_id, archived)
            changed = workspace_for(tx, caller, workspace_id)
        log.info("workspace.archived=%s workspace=%d", archived, workspace_id)
        return changed

    def delete(self, caller: Caller, workspace_id: int) -> None:
        """Remove an archived workspace with its models and pipelines. Files and logs stay until
        they are collected.

        Raises:
            NotFound: There is none.
            Conflict: It is not archived, or something is deployed in it.
        """
        with self._database.write() as tx:
            found = workspace_for(tx, caller, workspace_id)
            if not found.archived:
                raise Conflict(
                    f"The workspace {found.name!r} is in use: archive() it first. Its models "
                    f"({len(found.models)}) and pipelines ({len(found.pipelines)}) are deleted "
                    "with it.",
                    workspace=found.name,
                )
            check_nothing_runs(tx, found, "deleted")
            delete_workspace(tx, workspace_id)
        log.info("workspace.deleted workspace=%d user=%d", workspace_id, caller.user_id)

    def users(self, caller: Caller) -> list[User]:
        """Return everybody whom the server knows, oldest first."""
        assert caller.rights
        with self._database.read() as tx:
            return users.all_users(tx)

    def members(self, caller: Caller, workspace_id: int) -> list[Member]:
        """Return who may use a workspace, oldest first.

        Raises:
            NotFound: There is no such workspace.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            return users.workspace_members(tx, workspace_id)

    def set_member(
        self, caller: Caller, workspace_id: int, name: str, role: MemberRole
    ) -> list[Member]:
        """Let somebody into a workspace, or give them another role in it.

        Args:
            name: As an e-mail address; somebody new becomes known by it.

        Returns:
            Who may use it then.

        Raises:
            NotFound: There is no such workspace.
            InvalidName, LimitReached.
            Conflict: They have this role already, or nobody would own the workspace then.
        """
        check_user_name(name)
        now = datetime.now(UTC)
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            before = {m.name: m for m in users.workspace_members(tx, workspace_id)}
            found = before.get(name)
            if found is not None and found.role == role:
                raise Conflict(f"{name!r} is {_a(role)} of workspace {workspace_id} already.")
            if found is not None:
                _check_owned(before, without=found)
            elif len(users.all_users(tx)) >= limits.USERS_MAX:
                raise LimitReached(f"{limits.USERS_MAX} users are the most there can be.")
            user_id = users.find_or_add_user(tx, name, now)
            users.set_member(tx, workspace_id, user_id, role, by=caller.user_id, now=now)
            return users.workspace_members(tx, workspace_id)

    def remove_member(self, caller: Caller, workspace_id: int, name: str) -> list[Member]:
        """Let somebody no longer use a workspace.

        Returns:
            Who may use it then.

        Raises:
            NotFound: There is no such workspace, or they are not in it.
            Conflict: Nobody would own the workspace then.
        """
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            before = {m.name: m for m in users.workspace_members(tx, workspace_id)}
            found = before.get(name)
            if found is None:
                raise NotFound(
                    f"There is no user {name[:80]!r} in workspace {workspace_id}; there are "
                    f"{', '.join(map(repr, list(before)[:10]))}.",
                    user=name[:80],
                )
            _check_owned(before, without=found)
            users.remove_member(tx, workspace_id, found.id)
            return users.workspace_members(tx, workspace_id)


def _check_owned(members: dict[str, Member], *, without: Member) -> None:
    owners = {name for name, member in members.items() if member.role == "owner"}
    if owners == {without.name}:
        raise Conflict(
            f"{without.name!r} is the only owner: make somebody else an owner first.",
            user=without.name,
        )


def _a(role: MemberRole) -> str:
    return f"{'an' if role == 'owner' else 'a'} {role}"
