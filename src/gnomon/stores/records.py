"""What the tables hold, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from gnomon.core.model import ModelVersion
from gnomon.core.pipeline import Definition
from gnomon.core.shadow import ShadowSettings

Desired = Literal["running", "stopped"]
Observed = Literal["starting", "running", "failed", "stopped"]
MemberRole = Literal["owner", "user"]


@dataclass(frozen=True, slots=True)
class Period:
    """From when, up to and with when; None: without a bound there."""

    start: datetime | None = None
    end: datetime | None = None

    def holds(self, time: Any) -> Iterator[Any]:
        """Yield the conditions under which a column's time is within it."""
        if self.start is not None:
            yield time >= self.start
        if self.end is not None:
            yield time <= self.end


ALWAYS = Period()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody whom the server knows."""

    id: int
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody who may use a workspace.

    Attributes:
        id: Of the user.
        created_at, created_by: When and by whom they were let in as this.
    """

    id: int
    name: str
    role: MemberRole
    created_at: datetime
    created_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where models and pipelines have their names.

    Attributes:
        archived: Nothing is added to it or deployed in it.
        users: Names of its members, oldest first.
        models: Ids, oldest first.
        pipelines: Ids, oldest first.
    """

    id: int
    name: str
    archived: bool
    users: tuple[str, ...]
    models: tuple[int, ...]
    pipelines: tuple[int, ...]
    created_at: datetime
    created_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A name, and every file uploaded under it.

    Attributes:
        versions: Newest first.
    """

    id: int
    workspace_id: int
    name: str
    versions: tuple[ModelVersion, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A name, and what was built under it.

    Attributes:
        workspace: The workspace's name.
        versions: uuids, newest first.
        definition: Of the newest version.
        tags: Texts, in their order.
    """

    id: int
    workspace_id: int
    workspace: str
    name: str
    versions: tuple[str, ...]
    definition: Definition
    created_at: datetime
    created_by: int
    updated_at: datetime
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRecord:
    """A change of how challengers watch: the settings after it.

    Attributes:
        pipeline_version: uuid of the version that it is about.
    """

    pipeline_version: str
    settings: ShadowSettings
    created_at: datetime
    created_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineVersion:
    """One definition of a pipeline. Immutable, but for what is changed of its challengers.

    Attributes:
        tensor_fields: Of each of its model versions, by their ids, when this one was made.
        shadow: The newest change of how its challengers watch; None: they do as it was defined.
    """

    id: int
    uuid: str
    definition: Definition
    tensor_fields: Mapping[int, tuple[str, ...] | None]
    shadow: ShadowRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineVersionRecord:
    """A pipeline version, with what it is a version of, and who made it and when.

    Attributes:
        number: 1 for the first version of the pipeline, then 2, 3, ...
        pipeline: The pipeline's name.
        workspace: The workspace's name.
        restores: uuid of the older version that it is a copy of.
        deployed: It is the version that callers get.
        author: Name of the user who made it.
        updated_at: When it was made, or last changed how its challengers watch.
        tags: Of the pipeline.
    """

    version: PipelineVersion
    number: int
    pipeline_id: int
    pipeline: str
    workspace_id: int
    workspace: str
    restores: str | None
    deployed: bool
    created_at: datetime
    created_by: int
    author: str
    updated_at: datetime
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedModel:
    """A model version that has a tag."""

    id: int
    name: str
    ordinal: int
    uuid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedPipeline:
    """A pipeline that has a tag."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A text that models and pipelines of a workspace can have.

    Attributes:
        models: The model versions that have it, oldest first.
        pipelines: Those that have it, oldest first.
    """

    id: int
    workspace_id: int
    text: str
    models: tuple[TaggedModel, ...]
    pipelines: tuple[TaggedPipeline, ...]
    created_at: datetime
    created_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What should run of a pipeline, and what was last seen of it.

    Attributes:
        pipeline: The pipeline's name.
        revision: Grows with every change of what is desired.
        wanted: The version that should run, or that ran before it was stopped.
        observed: The state at `observed_revision`, which may be an older revision.
        serving: The version that callers get; None: none.
        reason: Why it failed, in a sentence.
    """

    id: int
    workspace_id: int
    pipeline_id: int
    pipeline: str
    revision: int
    desired: Desired
    wanted: PipelineVersion
    observed: Observed
    observed_revision: int
    serving: PipelineVersion | None
    reason: str | None
    updated_at: datetime
