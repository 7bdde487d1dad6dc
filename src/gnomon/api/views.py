"""What the API answers with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from gnomon.control import deployment_views, pipelines
from gnomon.core import stats
from gnomon.core.deployment import ProcessStatus
from gnomon.core.log_settings import Level, WhenFull
from gnomon.core.model import ModelVersion
from gnomon.core.steps import Mode
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
    users: list[str]
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
    workspace: str
    name: str
    ordinal: int
    sha256: str
    size_bytes: int
    file_name: str
    signature: dict[str, Any]
    runtime: str
    tensor_fields: list[str] | None
    batch_config: str | None
    input_schema: list[dict[str, Any]] | None
    output_schema: list[dict[str, Any]] | None
    dynamic_batching_config: dict[str, float] | None
    tags: list[str]
    created_at: Time
    created_by: int
    author: str

    @classmethod
    def of(cls, version: ModelVersion) -> VersionView:
        """Return the view of a version."""
        fields = version.tensor_fields
        return cls(
            id=version.id,
            uuid=version.uuid,
            model_id=version.model_id,
            workspace_id=version.workspace_id,
            workspace=version.workspace,
            name=version.name,
            ordinal=version.ordinal,
            sha256=version.sha256,
            size_bytes=version.size_bytes,
            file_name=version.file_name,
            signature=version.signature.to_json(),
            runtime=version.runtime,
            tensor_fields=None if fields is None else list(fields),
            **version.configuration.to_json(),
            tags=list(version.tags),
            created_at=version.created_at,
            created_by=version.created_by,
            author=version.author,
        )


class VersionsView(View):
    """Model versions, newest first."""

    versions: list[VersionView]


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


class HostInDeploymentView(View):
    """A host of a model."""

    name: str
    state: Literal["starting", "ready", "failed", "crash_looping", "stopping", "gone"]
    reason: str | None
    restarts: int
    pid: int | None


class ModelInDeploymentView(View):
    """One model of a deployment, with what its host does that fares best."""

    label: str
    role: Literal["champion", "challenger"]
    step: int
    name: str
    version: str
    sha: str
    state: Literal["starting", "ready", "failed", "crash_looping", "stopping", "gone"]
    reason: str | None
    restarts: int
    pid: int | None
    hosts: list[HostInDeploymentView]
    sample: float
    on: bool


class ShadowView(View):
    """How the challengers of a deployment watch; see `control.deployment_views.ShadowView`."""

    mode: Mode
    shadow_wait_ms: int
    in_force: bool
    changed_at: Time | None
    changed_by: int | None


class LogSettingsView(View):
    """How a pipeline's requests are logged; see `core.log_settings.LogSettings`."""

    level: Level
    when_full: WhenFull
    redact: tuple[str, ...]


class DeploymentView(View):
    """A deployment; see `control.deployment_views.DeploymentView`."""

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
    shadow: ShadowView
    log: LogSettingsView
    updated_at: Time

    @classmethod
    def of(cls, deployment: deployment_views.DeploymentView) -> DeploymentView:
        """Return the view of a deployment."""
        return cls.model_validate(deployment)


class ShadowChangeView(View):
    """A change of how challengers watch: the settings after it."""

    pipeline_version: str
    mode: Mode
    shadow_wait_ms: int
    sample: dict[str, float]
    off: list[str]
    changed_at: Time
    changed_by: int

    @classmethod
    def of(cls, change: records.ShadowRecord) -> ShadowChangeView:
        """Return the view of a change."""
        return cls(
            pipeline_version=change.pipeline_version,
            **change.settings.to_json(),
            changed_at=change.created_at,
            changed_by=change.created_by,
        )


class ShadowChangesView(View):
    """Changes, newest first."""

    changes: list[ShadowChangeView]


class PipelineView(View):
    """A pipeline: its versions' uuids newest first, the newest one's definition."""

    id: int
    workspace_id: int
    workspace: str
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
            workspace=pipeline.workspace,
            name=pipeline.name,
            created_at=pipeline.created_at,
            updated_at=pipeline.updated_at,
            created_by=pipeline.created_by,
            tags=list(pipeline.tags),
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


class FrontView(View):
    """A front; see `core.stats.FrontStats`."""

    front: str
    answers: bool
    requests: int
    log: dict[str, int]
    log_trouble: str | None

    @classmethod
    def of(cls, front: stats.FrontStats) -> FrontView:
        """Return the view of a front."""
        return cls.model_validate(front)


class ModelStatsView(View):
    """What a model did; see `core.stats.ModelStats` and `core.stats.total`."""

    sampled: int
    ok: int
    error: int
    timeout: int
    dropped: int
    schema_: Annotated[int, Field(alias="schema")]
    skipped: int
    lost: int
    pending: int
    p50_ms: float | None
    p99_ms: float | None
    breaker: stats.BreakerState | None
    connected: bool

    @classmethod
    def of(cls, counted: stats.ModelStats) -> ModelStatsView:
        """Return the view of what was counted."""
        return cls.model_validate(counted.to_json())


class DeploymentStatsView(View):
    """What the models of a deployment did, by label."""

    id: int
    models: dict[str, ModelStatsView]


class StatsView(View):
    """What the fronts counted since they started."""

    fronts: list[FrontView]
    deployments: list[DeploymentStatsView]


class ServerView(View):
    """The server as a whole."""

    version: str
    control_url: str
    front_url: str
    home: str
    pid: int
    processes: list[ProcessView]
    deployments: list[DeploymentView]
