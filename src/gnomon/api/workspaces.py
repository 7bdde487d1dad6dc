"""Routes of workspaces."""

from __future__ import annotations

from gnomon.api.bodies import Archiving, NewName
from gnomon.api.calls import Caller, WorkspaceId, Workspaces
from gnomon.api.guards import guarded_router, needs
from gnomon.api.views import WorkspacesView, WorkspaceView
from gnomon.core.access import Right

router = guarded_router("/v1/workspaces")


@router.get("")
@needs(Right.READ)
def list_workspaces(call: Caller, workspaces: Workspaces) -> WorkspacesView:
    """Return the caller's workspaces, oldest first."""
    found = workspaces.all(call)
    return WorkspacesView(workspaces=[WorkspaceView.of(workspace) for workspace in found])


@router.post("", status_code=201)
@needs(Right.WRITE)
def add_workspace(wanted: NewName, call: Caller, workspaces: Workspaces) -> WorkspaceView:
    """Make a workspace; 409 if the name is taken."""
    return WorkspaceView.of(workspaces.add(call, wanted.name))


@router.get("/default")
@needs(Right.READ)
def default_workspace(call: Caller, workspaces: Workspaces) -> WorkspaceView:
    """Return the caller's own workspace."""
    return WorkspaceView.of(workspaces.default(call))


@router.get("/{workspace}")
@needs(Right.READ)
def get_workspace(workspace: WorkspaceId, call: Caller, workspaces: Workspaces) -> WorkspaceView:
    """Return one workspace."""
    return WorkspaceView.of(workspaces.get(call, workspace))


@router.patch("/{workspace}")
@needs(Right.WRITE)
def archive_workspace(
    workspace: WorkspaceId, wanted: Archiving, call: Caller, workspaces: Workspaces
) -> WorkspaceView:
    """Archive a workspace, or bring it back.

    Raises: NotFound (404); Conflict (409): something is deployed in it, or it is a user's own.
    """
    return WorkspaceView.of(workspaces.set_archived(call, workspace, wanted.archived))


@router.delete("/{workspace}", status_code=204)
@needs(Right.WRITE)
def delete_workspace(workspace: WorkspaceId, call: Caller, workspaces: Workspaces) -> None:
    """Remove an archived workspace with what is in it.

    Raises: NotFound (404); Conflict (409): it is not archived, or something is deployed in it.
    """
    workspaces.delete(call, workspace)
