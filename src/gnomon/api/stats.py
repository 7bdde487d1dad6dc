"""Routes of what the fronts count."""

from __future__ import annotations

from fastapi import Request

from gnomon.api.calls import Caller, Deployments, WorkspaceId
from gnomon.api.guards import guarded_router, needs
from gnomon.api.views import DeploymentStatsView, FrontView, ModelStatsView, StatsView
from gnomon.backends.base import Backend
from gnomon.core.access import Right
from gnomon.core.stats import of_deployment

router = guarded_router("/v1")


@router.get("/stats")
@needs(Right.READ)
def stats(request: Request, call: Caller, deployments: Deployments) -> StatsView:
    """Return how the models of every deployment fared, over all fronts since they started."""
    return _stats(request, [found.id for found in deployments.stored(call)])


@router.get("/workspaces/{workspace}/pipelines/{name}/deployment/stats")
@needs(Right.READ)
def deployment_stats(
    request: Request, workspace: WorkspaceId, name: str, call: Caller, deployments: Deployments
) -> StatsView:
    """Return the same of one deployment.

    Raises: NotFound (404), also if it was never deployed.
    """
    return _stats(request, [deployments.find(call, workspace, name).id])


def _stats(request: Request, deployment_ids: list[int]) -> StatsView:
    backend: Backend = request.app.state.backend
    fronts = backend.front_stats()
    return StatsView(
        fronts=[FrontView.of(front) for front in fronts],
        deployments=[
            DeploymentStatsView(
                id=deployment_id,
                models={
                    label: ModelStatsView.of(stats)
                    for label, stats in of_deployment(fronts, deployment_id).items()
                },
            )
            for deployment_id in deployment_ids
        ],
    )
