"""Models and routes for the front's tests."""

from __future__ import annotations

from gnomon.core.model import Signature
from gnomon.core.pipeline import Mode
from gnomon.core.routing import Role, Route, ServedModel
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
