"""From a pipeline version to the route that fronts follow and the hosts that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gnomon.core.deployment import HostSpec
from gnomon.core.model import ModelVersion
from gnomon.core.plan import Stage, plan
from gnomon.core.resources import Resources, replicas_of, resources_of
from gnomon.core.routing import Role, Route, ServedModel, ServedStage
from gnomon.core.shadow import ShadowSettings
from gnomon.core.steps import ModelRef
from gnomon.stores.artifacts import Artifacts
from gnomon.stores.records import Deployment, PipelineVersion


def host_name(
    deployment_id: int, step: int, version_id: int, role: Role, resources: Resources
) -> str:
    """Return the name of a model version's (first) host.

    It is the same in every redeploy that asks for the same resources, which so reuses the host.
    """
    return f"d{deployment_id}-s{step}-m{version_id}-{role}{resources.suffix()}"


def shadow_of(version: PipelineVersion) -> ShadowSettings:
    """Return how a version's challengers are to watch: as last changed, or as defined."""
    if version.shadow is not None:
        return version.shadow.settings
    return ShadowSettings.of(plan(version.definition.steps))


def follows(route: Route, version: PipelineVersion) -> bool:
    """Say whether a route is one of this version, with its challengers watching as they are to."""
    settings = shadow_of(version)
    return route.pipeline_version == version.uuid and (
        (route.mode, route.shadow_wait_ms, route.sampling)
        == (settings.mode, settings.shadow_wait_ms, _sampling(version))
    )


def _sampling(version: PipelineVersion) -> tuple[float, ...]:
    settings = shadow_of(version)
    return tuple(settings.rate(label) for label in plan(version.definition.steps).labels())


def route_of(
    deployment: Deployment, version: PipelineVersion, models: Mapping[int, ModelVersion]
) -> Route:
    """Return the route of one of a deployment's versions.

    Args:
        models: The model versions of its definition, by id.
    """
    planned = plan(version.definition.steps)
    settings = shadow_of(version)
    stages: list[ServedStage] = []
    challengers: list[ServedModel] = []
    for stage in planned.stages:
        placed = _placed(deployment.id, version, stage)
        served = [_served(each, models[each.ref.version_id], version) for each in placed]
        count = len(stage.champions)
        challengers += served[count:]
        stages.append(
            ServedStage(
                step=stage.step,
                champions=tuple(served[:count]),
                split=stage.split,
                challengers=len(stage.challengers),
            )
        )
    plain = len(stages) == 1 and stages[0].split is None
    return Route(
        deployment_id=deployment.id,
        workspace_id=deployment.workspace_id,
        pipeline_id=deployment.pipeline_id,
        pipeline=deployment.pipeline,
        pipeline_version=version.uuid,
        champion=stages[0].champions[0] if plain else _outside(stages),
        challengers=tuple(challengers),
        mode=settings.mode,
        shadow_wait_ms=settings.shadow_wait_ms,
        step=stages[-1].step,
        sampling=_sampling(version),
        stages=() if plain else tuple(stages),
        checks=planned.checks,
        log=version.definition.log,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A model of a pipeline version, and its place in it.

    Attributes:
        step: Index of the step.
        host: Name of its (first) host.
        replicas: How many hosts it has: a challenger one.
    """

    step: int
    role: Role
    label: str
    ref: ModelRef
    host: str
    resources: Resources
    replicas: int


def placed_models(deployment_id: int, version: PipelineVersion) -> list[Placed]:
    """Return the models of a deployment's version, each stage's champions first."""
    stages = plan(version.definition.steps).stages
    return [placed for stage in stages for placed in _placed(deployment_id, version, stage)]


def _placed(deployment_id: int, version: PipelineVersion, stage: Stage) -> list[Placed]:
    asked = version.definition.deployment_config
    replicas = replicas_of(asked)

    def placed(ref: ModelRef, label: str, role: Role) -> Placed:
        resources = resources_of(asked, ref)
        return Placed(
            step=stage.step,
            role=role,
            label=label,
            ref=ref,
            host=host_name(deployment_id, stage.step, ref.version_id, role, resources),
            resources=resources,
            replicas=replicas if role == "champion" else 1,
        )

    champions = zip(stage.champions, stage.champion_labels, strict=True)
    challengers = zip(stage.challengers, stage.labels, strict=True)
    return [
        *(placed(ref, label, "champion") for ref, label in champions),
        *(placed(ref, label, "challenger") for ref, label in challengers),
    ]


def _served(placed: Placed, model: ModelVersion, version: PipelineVersion) -> ServedModel:
    signature = model.signature
    return ServedModel(
        label=placed.label,
        role=placed.role,
        name=model.name,
        ordinal=model.ordinal,
        version_id=model.id,
        uuid=model.uuid,
        sha256=model.sha256,
        signature=replace(signature, row_wise=False) if placed.ref.single else signature,
        tensor_fields=version.tensor_fields.get(model.id),
        host=placed.host,
        resources=placed.resources,
        replicas=placed.replicas,
        runtime=model.runtime,
    )


def _outside(stages: Sequence[ServedStage]) -> ServedModel:
    """Return how stages look from outside: what the first takes, and what the last gives."""
    first, last = stages[0].champions[0], stages[-1].champions[0]
    signature = replace(last.signature, inputs=first.signature.inputs, row_wise=False)
    return replace(last, signature=signature, tensor_fields=first.tensor_fields)


def host_spec(model: ServedModel, artifacts: Artifacts, size_bytes: int) -> HostSpec:
    """Return what a backend needs to start a model's host."""
    return HostSpec(
        name=model.host,
        model_path=str(artifacts.path(model.sha256)),
        sha256=model.sha256,
        version_uuid=model.uuid,
        role=model.role,
        model_bytes=size_bytes,
        resources=model.resources,
        declared=model.signature if model.runtime == "python" else None,
    )
