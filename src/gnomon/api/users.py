"""Routes of users, and of who may use a workspace."""

from __future__ import annotations

from collections.abc import Iterable

from gnomon.api.bodies import RoleBody
from gnomon.api.calls import Caller, WorkspaceId, Workspaces
from gnomon.api.catalog_views import MembersView, MemberView, UsersView, UserView
from gnomon.api.guards import guarded_router, needs
from gnomon.core.access import Right
from gnomon.stores.records import Member

router = guarded_router("/v1")


@router.get("/users")
@needs(Right.READ)
def list_users(call: Caller, workspaces: Workspaces) -> UsersView:
    """Return everybody whom the server knows, oldest first."""
    return UsersView(users=[UserView.model_validate(user) for user in workspaces.users(call)])


@router.get("/workspaces/{workspace}/users")
@needs(Right.READ)
def list_members(workspace: WorkspaceId, call: Caller, workspaces: Workspaces) -> MembersView:
    """Return who may use a workspace, oldest first."""
    return _members(workspaces.members(call, workspace))


@router.put("/workspaces/{workspace}/users/{user}")
@needs(Right.WRITE)
def set_member(
    workspace: WorkspaceId, user: str, wanted: RoleBody, call: Caller, workspaces: Workspaces
) -> MembersView:
    """Let somebody, by their name, into a workspace, or give them another role in it.

    Raises: NotFound (404), InvalidName (422); Conflict (409): they have this role already, or
        nobody would own the workspace.
    """
    return _members(workspaces.set_member(call, workspace, user, wanted.role))


@router.delete("/workspaces/{workspace}/users/{user}")
@needs(Right.WRITE)
def remove_member(
    workspace: WorkspaceId, user: str, call: Caller, workspaces: Workspaces
) -> MembersView:
    """Let somebody, by their name, no longer use a workspace.

    Raises: NotFound (404); Conflict (409): nobody would own the workspace.
    """
    return _members(workspaces.remove_member(call, workspace, user))


def _members(found: Iterable[Member]) -> MembersView:
    return MembersView(users=[MemberView.model_validate(member) for member in found])
