"""From a pipeline version to the route that fronts follow and the hosts that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gnomon.core.deployment import HostSpec
from gnomon.core.model import ModelVersion
from gnomon.core.pipeline import ModelRef
from gnomon.core.resources import Resources, resources_of
from gnomon.core.routing import Role, Route, ServedModel
from gnomon.core.shadow import ShadowSettings
from gnomon.stores.artifacts import Artifacts
from gnomon.stores.records import Deployment, PipelineVersion

STEP = 0  # `check_steps` lets one step through


def host_name(deployment_id: int, version_id: int, role: Role, resources: Resources) -> str:
    """Return the name of a model version's host.

    It is the same in every redeploy that asks for the same resources, which so reuses the host.
    """
    return f"d{deployment_id}-s{STEP}-m{version_id}-{role}{resources.suffix()}"


def shadow_of(version: PipelineVersion) -> ShadowSettings:
    """Return how a version's challengers are to watch: as last changed, or as defined."""
    if version.shadow is not None:
        return version.shadow.settings
    return ShadowSettings.of(version.definition.steps[STEP])


def follows(route: Route, version: PipelineVersion) -> bool:
    """Say whether a route is one of this version, with its challengers watching as they are to."""
    settings = shadow_of(version)
    return route.pipeline_version == version.uuid and (
        (route.mode, route.shadow_wait_ms, route.sampling)
        == (settings.mode, settings.shadow_wait_ms, _sampling(version))
    )


def _sampling(version: PipelineVersion) -> tuple[float, ...]:
    return tuple(map(shadow_of(version).rate, version.definition.steps[STEP].labels()))


def route_of(
    deployment: Deployment, version: PipelineVersion, models: Mapping[int, ModelVersion]
) -> Route:
    """Return the route of one of a deployment's versions.

    Args:
        models: The model versions of its definition, by id.
    """
    step = version.definition.steps[STEP]
    settings = shadow_of(version)

    def served(ref: ModelRef, role: Role, label: str) -> ServedModel:
        model = models[ref.version_id]
        resources = resources_of(version.definition.deployment_config, ref)
        return ServedModel(
            label=label,
            role=role,
            name=model.name,
            ordinal=model.ordinal,
            version_id=model.id,
            uuid=model.uuid,
            sha256=model.sha256,
            signature=replace(model.signature, row_wise=False) if ref.single else model.signature,
            tensor_fields=version.tensor_fields.get(model.id),
            host=host_name(deployment.id, model.id, role, resources),
            resources=resources,
        )

    return Route(
        deployment_id=deployment.id,
        workspace_id=deployment.workspace_id,
        pipeline_id=deployment.pipeline_id,
        pipeline=deployment.pipeline,
        pipeline_version=version.uuid,
        champion=served(step.champion, "champion", step.champion.name),
        challengers=tuple(
            served(ref, "challenger", label)
            for ref, label in zip(step.challengers, step.labels(), strict=True)
        ),
        mode=settings.mode,
        shadow_wait_ms=settings.shadow_wait_ms,
        step=STEP,
        sampling=_sampling(version),
    )


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
    )
