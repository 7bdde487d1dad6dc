"""Routes of deployments."""

from __future__ import annotations

from fastapi import Response

from gnomon.api.bodies import DeploymentRequest, ShadowChangeBody
from gnomon.api.calls import (
    Caller,
    Deployments,
    PageRows,
    Revision,
    Shadows,
    WaitSeconds,
    WorkspaceId,
)
from gnomon.api.guards import guarded_router, needs
from gnomon.api.views import DeploymentView, ShadowChangesView, ShadowChangeView
from gnomon.core import limits
from gnomon.core.access import Right

router = guarded_router("/v1/workspaces/{workspace}/pipelines/{name}/deployment")


@router.put("", status_code=202)
@needs(Right.WRITE)
def deploy(
    workspace: WorkspaceId,
    name: str,
    wanted: DeploymentRequest,
    call: Caller,
    deployments: Deployments,
) -> DeploymentView:
    """Ask for a definition to run, as a new version of the pipeline; the reconciler does the rest.

    Returns: The deployment with its desired state; wait for it with `GET`.
    Raises: NotFound (404), Invalid (422), LimitReached (422), ServerBusy (503).
    """
    return DeploymentView.of(deployments.request(call, workspace, name, wanted.value()))


@router.get("")
@needs(Right.READ)
def get_deployment(
    workspace: WorkspaceId,
    name: str,
    call: Caller,
    deployments: Deployments,
    wait_s: WaitSeconds = 0.0,
    revision: Revision = None,
) -> DeploymentView:
    """Return the deployment: now, or when it is settled or at another revision than `revision`.

    Raises: NotFound (404), also if it was never deployed.
    """
    found = deployments.get(call, workspace, name, wait_s=wait_s, revision=revision)
    return DeploymentView.of(found)


@router.delete("", status_code=202, responses={200: {"model": DeploymentView | None}})
@needs(Right.WRITE)
def undeploy(
    workspace: WorkspaceId, name: str, call: Caller, deployments: Deployments, answer: Response
) -> DeploymentView | None:
    """Ask for the pipeline to run no more; 200 if it should not run anyway.

    Returns: The deployment; null if there never was one.
    Raises: NotFound (404).
    """
    found, changed = deployments.request_stop(call, workspace, name)
    answer.status_code = 202 if changed else 200
    return None if found is None else DeploymentView.of(found)


@router.patch("/shadow", responses={202: {"model": DeploymentView}})
@needs(Right.WRITE)
def change_shadow(
    workspace: WorkspaceId,
    name: str,
    wanted: ShadowChangeBody,
    call: Caller,
    shadows: Shadows,
    answer: Response,
) -> DeploymentView:
    """Let the challengers watch in another way, without a redeploy.

    Returns: The deployment; 202 if a front does not do so yet: it will when it is back.
    Raises: NotFound (404), NotDeployed (404), Invalid (422).
    """
    found = shadows.change(call, workspace, name, wanted.value())
    answer.status_code = 200 if found.shadow.in_force else 202
    return DeploymentView.of(found)


@router.get("/shadow/changes")
@needs(Right.READ)
def shadow_changes(
    workspace: WorkspaceId,
    name: str,
    call: Caller,
    shadows: Shadows,
    limit: PageRows = limits.PAGE_ROWS_MAX,
) -> ShadowChangesView:
    """Return what was changed of the pipeline's challengers, newest first, and by whom.

    Raises: NotFound (404).
    """
    found = shadows.history(call, workspace, name, limit=limit)
    return ShadowChangesView(changes=[ShadowChangeView.of(change) for change in found])
