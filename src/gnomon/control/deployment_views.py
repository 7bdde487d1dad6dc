"""Deployments as users see them: what was stored, what their hosts do, what the fronts follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gnomon.control.routes import Placed, follows, placed_models, shadow_of
from gnomon.core.deployment import DeploymentState, HostState, HostStatus
from gnomon.core.log_settings import LogSettings
from gnomon.core.routing import Role, Route, host_names
from gnomon.core.steps import Mode
from gnomon.stores.records import Deployment, Desired, PipelineVersion

_BEST_FIRST = ("ready", "starting", "crash_looping", "stopping", "failed", "gone")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInDeployment:
    """What a host does.

    Attributes:
        state: "gone": there is none.
    """

    name: str
    state: HostState | Literal["gone"]
    reason: str | None
    restarts: int
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInDeployment:
    """One model of a deployment, with what its host does.

    Attributes:
        step: Index of its step.
        version: uuid of the model version.
        state, reason, pid: Of the host that fares best.
        restarts: Of all its hosts.
        hosts: What each of them does; nearly always there is one.
        sample: Share of the requests that it sees while it is on, in [0, 1].
        on: False: it was switched off, and sees none.
    """

    label: str
    role: Role
    step: int
    name: str
    version: str
    sha: str
    state: HostState | Literal["gone"]
    reason: str | None
    restarts: int
    pid: int | None
    hosts: tuple[HostInDeployment, ...]
    sample: float
    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowView:
    """How the challengers of a deployment watch.

    Attributes:
        mode, shadow_wait_ms: See `core.steps.ModelStep`.
        in_force: Every front does so, and `sample` and `on` of the models are in force too.
        changed_at, changed_by: When and by whom it was last changed; None: it is as defined.
    """

    mode: Mode
    shadow_wait_ms: int
    in_force: bool
    changed_at: datetime | None
    changed_by: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment as users see it.

    Attributes:
        settled: What is desired has come about, or failed.
        pipeline_version: uuid of the version that callers get.
        wanted_version: uuid of the version that should run.
        url: Where inferences go.
        models: Of the version that callers get, if the wanted one failed; else of the wanted one.
        shadow: Of the same version.
        log: Of the same version: how its requests are logged.
    """

    id: int
    pipeline_id: int
    pipeline: str
    workspace_id: int
    revision: int
    desired: Desired
    state: DeploymentState
    settled: bool
    reason: str | None
    pipeline_version: str | None
    wanted_version: str | None
    url: str
    models: tuple[ModelInDeployment, ...]
    shadow: ShadowView
    log: LogSettings
    updated_at: datetime


def is_settled(deployment: Deployment) -> bool:
    """Say whether what is desired has come about, or failed."""
    return deployment.observed_revision == deployment.revision and deployment.observed != "starting"


def _state(deployment: Deployment) -> DeploymentState:
    if deployment.observed_revision == deployment.revision:
        return deployment.observed
    return "starting" if deployment.desired == "running" else "stopping"


def shown_version(deployment: Deployment) -> PipelineVersion:
    """Return the version that callers get, if the wanted one failed; else the wanted one."""
    serving = deployment.serving
    return serving if _state(deployment) == "failed" and serving is not None else deployment.wanted


def view_of(
    deployment: Deployment,
    hosts: Mapping[str, HostStatus],
    published: Route | None,
    front_url: str,
) -> DeploymentView:
    """Return a deployment as users see it.

    Args:
        hosts: What the backend runs, by name.
        published: The route that the fronts follow.
    """
    state = _state(deployment)
    serving = deployment.serving
    shown = shown_version(deployment)
    name = deployment.pipeline
    return DeploymentView(
        id=deployment.id,
        pipeline_id=deployment.pipeline_id,
        pipeline=name,
        workspace_id=deployment.workspace_id,
        revision=deployment.revision,
        desired=deployment.desired,
        state=state,
        settled=is_settled(deployment),
        reason=deployment.reason if state == "failed" else None,
        pipeline_version=None if serving is None else serving.uuid,
        wanted_version=deployment.wanted.uuid if deployment.desired == "running" else None,
        url=f"{front_url}/v1/api/pipelines/infer/{name}-{deployment.id}/{name}",
        models=_models(
            deployment.id, shown, hosts, absent="starting" if state == "starting" else "gone"
        ),
        shadow=_shadow(shown, published),
        log=shown.definition.log,
        updated_at=deployment.updated_at,
    )


def _shadow(shown: PipelineVersion, published: Route | None) -> ShadowView:
    settings = shadow_of(shown)
    changed = shown.shadow
    return ShadowView(
        mode=settings.mode,
        shadow_wait_ms=settings.shadow_wait_ms,
        in_force=published is not None and follows(published, shown),
        changed_at=None if changed is None else changed.created_at,
        changed_by=None if changed is None else changed.created_by,
    )


def _models(
    deployment_id: int,
    version: PipelineVersion,
    hosts: Mapping[str, HostStatus],
    *,
    absent: HostState | Literal["gone"],
) -> tuple[ModelInDeployment, ...]:
    settings = shadow_of(version)

    def seen(placed: Placed) -> ModelInDeployment:
        found = tuple(
            _host(name, hosts.get(name), absent)
            for name in host_names(placed.host, placed.replicas)
        )
        best = min(found, key=lambda host: _BEST_FIRST.index(host.state))
        return ModelInDeployment(
            label=placed.label,
            role=placed.role,
            step=placed.step,
            name=placed.ref.name,
            version=placed.ref.uuid,
            sha=placed.ref.sha256,
            state=best.state,
            reason=best.reason,
            restarts=sum(host.restarts for host in found),
            pid=best.pid,
            hosts=found,
            sample=settings.sample.get(placed.label, 1.0),
            on=placed.label not in settings.off,
        )

    return tuple(map(seen, placed_models(deployment_id, version)))


def _host(
    name: str, status: HostStatus | None, absent: HostState | Literal["gone"]
) -> HostInDeployment:
    if status is None:
        return HostInDeployment(name=name, state=absent, reason=None, restarts=0, pid=None)
    return HostInDeployment(
        name=name,
        state=status.state,
        reason=status.reason,
        restarts=status.restarts,
        pid=status.pid,
    )
