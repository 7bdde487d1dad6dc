"""Routes of pipelines."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from gnomon.api.bodies import NewName
from gnomon.api.calls import Caller, PageRows, Pipelines, WorkspaceId
from gnomon.api.guards import guarded_router, needs
from gnomon.api.views import PipelinesView, PipelineView
from gnomon.core import limits
from gnomon.core.access import Right

router = guarded_router("/v1/workspaces/{workspace}/pipelines")


@router.get("")
@needs(Right.READ)
def list_pipelines(
    workspace: WorkspaceId,
    call: Caller,
    pipelines: Pipelines,
    name: Annotated[str | None, Query()] = None,
    limit: PageRows = limits.PAGE_ROWS_MAX,
) -> PipelinesView:
    """Return the workspace's pipelines, newest first."""
    found = pipelines.list(call, workspace, name=name, limit=limit)
    return PipelinesView(pipelines=[PipelineView.of(pipeline) for pipeline in found])


@router.post("", status_code=201, responses={200: {"model": PipelineView}})
@needs(Right.WRITE)
def build_pipeline(
    workspace: WorkspaceId, wanted: NewName, call: Caller, pipelines: Pipelines, answer: Response
) -> PipelineView:
    """Make a pipeline; if there is one of that name, an empty new version of it (200)."""
    found, is_new = pipelines.build(call, workspace, wanted.name)
    answer.status_code = 201 if is_new else 200
    return PipelineView.of(found)


@router.get("/{name}")
@needs(Right.READ)
def get_pipeline(
    workspace: WorkspaceId, name: str, call: Caller, pipelines: Pipelines
) -> PipelineView:
    """Return one pipeline."""
    return PipelineView.of(pipelines.get(call, workspace, name))


@router.delete("/{name}", status_code=204)
@needs(Right.WRITE)
def delete_pipeline(workspace: WorkspaceId, name: str, call: Caller, pipelines: Pipelines) -> None:
    """Remove a pipeline with its versions.

    Raises: NotFound (404); Conflict (409): it is deployed, or has not stopped yet.
    """
    pipelines.delete(call, workspace, name)
