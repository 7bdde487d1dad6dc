"""A control plane over a temporary directory and a FakeBackend, for tests."""

from __future__ import annotations

from pathlib import Path

from gnomon.control.plane import ControlPlane
from gnomon.core.access import Caller, Right, token_hash
from gnomon.core.model import ModelVersion
from gnomon.core.pipeline import Definition
from gnomon.core.steps import ModelRef, ModelStep
from gnomon.testing import FakeBackend

TOKEN = "gno_of-the-owner"
FRONT_URL = "http://127.0.0.1:8081"


def open_plane(
    home: Path, backend: FakeBackend, *, token: str = TOKEN, allow_python_models: bool = False
) -> ControlPlane:
    """Open a control plane whose reconciler does not run yet."""
    return ControlPlane.open(
        database=home / "metadata.sqlite",
        artifacts=home / "artifacts",
        inference_log=home / "inference-log",
        backend=backend,
        token_hash=token_hash(token),
        front_url=FRONT_URL,
        allow_python_models=allow_python_models,
    )


def owner(plane: ControlPlane) -> Caller:
    """Return the owner, as the API would let it in."""
    return plane.access.admit(f"Bearer {TOKEN}", Right.WRITE)


def workspace_of(plane: ControlPlane) -> int:
    """Return the id of the owner's workspace."""
    return plane.workspaces.default(owner(plane)).id


def upload(plane: ControlPlane, name: str, content: bytes | None = None) -> ModelVersion:
    """Upload a file as a model's next version."""
    call = owner(plane)
    with plane.catalog.begin_upload(
        call, workspace_of(plane), name, file_name=f"{name}.onnx"
    ) as incoming:
        incoming.write(f"the file of {name}".encode() if content is None else content)
        return incoming.finish()


def ref(version: ModelVersion) -> ModelRef:
    """Return the reference to a version, as a definition has it."""
    return ModelRef(
        version_id=version.id,
        name=version.name,
        ordinal=version.ordinal,
        uuid=version.uuid,
        sha256=version.sha256,
    )


def shadow(champion: ModelVersion, *challengers: ModelVersion) -> Definition:
    """Return the definition of one step."""
    return Definition(
        steps=(ModelStep(champion=ref(champion), challengers=tuple(map(ref, challengers))),)
    )
