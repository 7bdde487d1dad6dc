"""Models and routes for the front's tests."""

from __future__ import annotations

from dataclasses import replace

from gnomon.core.model import Signature
from gnomon.core.plan import Check, Split
from gnomon.core.routing import Role, Route, ServedModel, ServedStage
from gnomon.core.steps import Mode
from gnomon.core.tensors import TensorSpec

TOKEN = "gno_for-tests"

Shape = tuple[int | None, ...]


def spec(name: str = "x", dtype: str = "float32", shape: Shape = (None, 2)) -> TensorSpec:
    """Describe one tensor."""
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def model(
    label: str,
    role: Role,
    *,
    inputs: tuple[TensorSpec, ...] = (spec(),),
    outputs: tuple[TensorSpec, ...] = (spec("y"),),
    fields: tuple[str, ...] | None = None,
    host: str | None = None,
    ordinal: int = 1,
) -> ServedModel:
    """Describe a model version in a host of its own."""
    name = label.split("_v")[0]
    return ServedModel(
        label=label,
        role=role,
        name=name,
        ordinal=ordinal,
        version_id=ordinal,
        uuid=f"uuid-of-{label}-{ordinal}",
        sha256="0" * 64,
        signature=Signature(inputs=inputs, outputs=outputs, row_wise=True),
        tensor_fields=fields,
        host=host or f"7-0-{label}-{ordinal}",
    )


def champion(label: str = "ccfraud", **more) -> ServedModel:
    """Describe a champion."""
    return model(label, "champion", **more)


def challenger(label: str, **more) -> ServedModel:
    """Describe a challenger."""
    return model(label, "challenger", **more)


def route(
    champion: ServedModel,
    *challengers: ServedModel,
    mode: Mode = "async",
    shadow_wait_ms: int = 1_000,
    pipeline: str = "fraud",
    deployment_id: int = 7,
    version: str = "pipeline-version-1",
) -> Route:
    """Describe a deployment."""
    return Route(
        deployment_id=deployment_id,
        workspace_id=1,
        pipeline_id=3,
        pipeline=pipeline,
        pipeline_version=version,
        champion=champion,
        challengers=challengers,
        mode=mode,
        shadow_wait_ms=shadow_wait_ms,
    )


def stage(*champions: ServedModel, split: Split | None = None, challengers: int = 0) -> ServedStage:
    """Describe a stage."""
    return ServedStage(step=0, champions=champions, split=split, challengers=challengers)


def staged(
    *stages: ServedStage,
    challengers: tuple[ServedModel, ...] = (),
    checks: tuple[Check, ...] = (),
    mode: Mode = "async",
) -> Route:
    """Describe a deployment with several stages, or a split."""
    first, last = stages[0].champions[0], stages[-1].champions[0]
    signature = replace(last.signature, inputs=first.signature.inputs, row_wise=False)
    outside = replace(last, signature=signature, tensor_fields=first.tensor_fields)
    numbered = tuple(replace(each, step=step) for step, each in enumerate(stages))
    return replace(
        route(outside, *challengers, mode=mode),
        stages=numbered,
        checks=checks,
        step=len(stages) - 1,
    )
