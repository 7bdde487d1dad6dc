"""Routes of pipeline versions: their history, searching them, and running an older one again."""

from __future__ import annotations

from gnomon.api.calls import (
    Caller,
    Deployments,
    Moment,
    PageRows,
    Pipelines,
    Term,
    WorkspaceId,
    period,
)
from gnomon.api.catalog_views import PipelineVersionsView, PipelineVersionView
from gnomon.api.guards import guarded_router, needs
from gnomon.api.views import DeploymentView
from gnomon.core import limits
from gnomon.core.access import Right

router = guarded_router("/v1/workspaces/{workspace}")


@router.get("/pipeline-versions")
@needs(Right.READ)
def search_versions(
    workspace: WorkspaceId,
    call: Caller,
    pipelines: Pipelines,
    term: Term = None,
    deployed: bool | None = None,
    created_start: Moment = None,
    created_end: Moment = None,
    updated_start: Moment = None,
    updated_end: Moment = None,
    limit: PageRows = limits.PAGE_ROWS_MAX,
) -> PipelineVersionsView:
    """Return the pipeline versions of which all this is true, newest first.

    `term` is part of a pipeline's name, a uuid or a tag, whatever its case.
    """
    found = pipelines.search(
        call,
        workspace,
        term,
        deployed=deployed,
        created=period(created_start, created_end),
        updated=period(updated_start, updated_end),
        limit=limit,
    )
    return PipelineVersionsView(versions=[PipelineVersionView.of(each) for each in found])


@router.get("/pipelines/{name}/versions")
@needs(Right.READ)
def list_versions(
    workspace: WorkspaceId,
    name: str,
    call: Caller,
    pipelines: Pipelines,
    limit: PageRows = limits.PAGE_ROWS_MAX,
) -> PipelineVersionsView:
    """Return the versions of a pipeline, newest first."""
    found = pipelines.versions(call, workspace, name, limit=limit)
    return PipelineVersionsView(versions=[PipelineVersionView.of(each) for each in found])


@router.get("/pipelines/{name}/versions/{version}")
@needs(Right.READ)
def get_version(
    workspace: WorkspaceId, name: str, version: str, call: Caller, pipelines: Pipelines
) -> PipelineVersionView:
    """Return a version by its uuid or number."""
    return PipelineVersionView.of(pipelines.version(call, workspace, name, version))


@router.put("/pipelines/{name}/versions/{version}/deployment", status_code=202)
@needs(Right.WRITE)
def restore(
    workspace: WorkspaceId, name: str, version: str, call: Caller, deployments: Deployments
) -> DeploymentView:
    """Ask for an older version to run again, as a new version that is its copy.

    Returns: The deployment with its desired state, as `PUT` of a definition does.
    Raises: NotFound (404), also if a model version of it was deleted; Invalid (422).
    """
    return DeploymentView.of(deployments.restore(call, workspace, name, version))
