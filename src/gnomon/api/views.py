"""What the API answers with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from gnomon.control import deployments, pipelines
from gnomon.core.deployment import ProcessStatus
from gnomon.core.model import ModelVersion
from gnomon.stores import records

Time = Annotated[
    datetime,
    PlainSerializer(lambda time: time.astimezone(UTC).isoformat(timespec="microseconds")),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class View(BaseModel):
    """Made from the value of the same name in `control` or `stores`."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class HealthView(View):
    """The server answers."""

    status: Literal["ok"] = "ok"
    version: str


class WorkspaceView(View):
    """A workspace, with the ids of what is in it."""

    id: int
    name: str
    created_at: Time
    created_by: int
    archived: bool
    models: list[int]
    pipelines: list[int]

    @classmethod
    def of(cls, workspace: records.Workspace) -> WorkspaceView:
        """Return the view of a workspace."""
        return cls.model_validate(workspace)


class WorkspacesView(View):
    """Workspaces, oldest first."""

    workspaces: list[WorkspaceView]


class VersionView(View):
    """A model version."""

    id: int
    uuid: str
    model_id: int
    workspace_id: int
    name: str
    ordinal: int
    sha256: str
    size_bytes: int
    file_name: str
    signature: dict[str, Any]
    tensor_fields: list[str] | None
    created_at: Time
    created_by: int

    @classmethod
    def of(cls, version: ModelVersion) -> VersionView:
        """Return the view of a version."""
        fields = version.tensor_fields
        return cls(
            id=version.id,
            uuid=version.uuid,
            model_id=version.model_id,
            workspace_id=version.workspace_id,
            name=version.name,
            ordinal=version.ordinal,
            sha256=version.sha256,
            size_bytes=version.size_bytes,
            file_name=version.file_name,
            signature=version.signature.to_json(),
            tensor_fields=None if fields is None else list(fields),
            created_at=version.created_at,
            created_by=version.created_by,
        )


class ModelView(View):
    """A model; its versions newest first."""

    id: int
    name: str
    created_at: Time
    updated_at: Time
    versions: list[VersionView]

    @classmethod
    def of(cls, model: records.Model) -> ModelView:
        """Return the view of a model."""
        return cls(
            id=model.id,
            name=model.name,
            created_at=model.created_at,
            updated_at=model.updated_at,
            versions=[VersionView.of(version) for version in model.versions],
        )


class ModelsView(View):
    """Models, oldest first."""

    models: list[ModelView]


class ModelInDeploymentView(View):
    """One model of a deployment, with what its host does."""

    label: str
    role: Literal["champion", "challenger"]
    name: str
    version: str
    sha: str
    state: Literal["starting", "ready", "failed", "crash_looping", "stopping", "gone"]
    reason: str | None
    restarts: int
    pid: int | None


class DeploymentView(View):
    """A deployment; see `control.deployments.DeploymentView`."""

    id: int
    pipeline_id: int
    pipeline: str
    workspace_id: int
    revision: int
    desired: Literal["running", "stopped"]
    state: Literal["starting", "running", "failed", "stopping", "stopped"]
    settled: bool
    reason: str | None
    pipeline_version: str | None
    wanted_version: str | None
    url: str
    models: list[ModelInDeploymentView]
    updated_at: Time

    @classmethod
    def of(cls, deployment: deployments.DeploymentView) -> DeploymentView:
        """Return the view of a deployment."""
        return cls.model_validate(deployment)


class PipelineView(View):
    """A pipeline: its versions' uuids newest first, the newest one's definition."""

    id: int
    workspace_id: int
    name: str
    created_at: Time
    updated_at: Time
    created_by: int
    tags: list[str]
    versions: list[str]
    definition: dict[str, Any]
    deployment: DeploymentView | None

    @classmethod
    def of(cls, found: pipelines.PipelineView) -> PipelineView:
        """Return the view of a pipeline."""
        pipeline = found.pipeline
        deployed = found.deployment
        return cls(
            id=pipeline.id,
            workspace_id=pipeline.workspace_id,
            name=pipeline.name,
            created_at=pipeline.created_at,
            updated_at=pipeline.updated_at,
            created_by=pipeline.created_by,
            tags=[],
            versions=list(pipeline.versions),
            definition=pipeline.definition.to_json(),
            deployment=None if deployed is None else DeploymentView.of(deployed),
        )


class PipelinesView(View):
    """Pipelines, newest first."""

    pipelines: list[PipelineView]


class ProcessView(View):
    """A process of the server, other than a host."""

    name: str
    pid: int | None
    state: str
    restarts: int
    log: str

    @classmethod
    def of(cls, process: ProcessStatus) -> ProcessView:
        """Return the view of a process."""
        return cls.model_validate(process)


class ServerView(View):
    """The server as a whole."""

    version: str
    control_url: str
    front_url: str
    home: str
    pid: int
    processes: list[ProcessView]
    deployments: list[DeploymentView]
