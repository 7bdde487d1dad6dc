"""Routes of workspaces."""

from __future__ import annotations

from gnomon.api.bodies import NewName
from gnomon.api.calls import Caller, Catalog
from gnomon.api.guards import guarded_router, needs
from gnomon.api.views import WorkspacesView, WorkspaceView
from gnomon.core.access import Right

router = guarded_router("/v1/workspaces")


@router.get("")
@needs(Right.READ)
def list_workspaces(call: Caller, catalog: Catalog) -> WorkspacesView:
    """Return the caller's workspaces, oldest first."""
    found = catalog.workspaces(call)
    return WorkspacesView(workspaces=[WorkspaceView.of(workspace) for workspace in found])


@router.post("", status_code=201)
@needs(Right.WRITE)
def add_workspace(wanted: NewName, call: Caller, catalog: Catalog) -> WorkspaceView:
    """Make a workspace; 409 if the name is taken."""
    return WorkspaceView.of(catalog.add_workspace(call, wanted.name))


@router.get("/default")
@needs(Right.READ)
def default_workspace(call: Caller, catalog: Catalog) -> WorkspaceView:
    """Return the caller's own workspace."""
    return WorkspaceView.of(catalog.default_workspace(call))
