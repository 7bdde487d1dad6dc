"""Deploying to a control plane as the API does."""

from __future__ import annotations

from gnomon.control.deployment_views import DeploymentView
from gnomon.control.plane import ControlPlane
from gnomon.core.pipeline import Definition
from tests.planes import owner, workspace_of


def deploy(plane: ControlPlane, definition: Definition, name: str = "pipe") -> DeploymentView:
    call, workspace = owner(plane), workspace_of(plane)
    plane.pipelines.build(call, workspace, name)
    return plane.deployments.request(call, workspace, name, definition)


def undeploy(plane: ControlPlane, name: str = "pipe") -> None:
    plane.deployments.request_stop(owner(plane), workspace_of(plane), name)


def settled(plane: ControlPlane, name: str = "pipe") -> DeploymentView:
    view = plane.deployments.get(owner(plane), workspace_of(plane), name, wait_s=5.0)
    assert view.settled, view
    return view


def now(plane: ControlPlane, name: str = "pipe") -> DeploymentView:
    return plane.deployments.get(owner(plane), workspace_of(plane), name)


def states(view: DeploymentView) -> dict[str, str]:
    return {model.label: model.state for model in view.models}
