"""What the tables hold, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gnomon.core.model import ModelVersion
from gnomon.core.pipeline import Definition

Desired = Literal["running", "stopped"]
Observed = Literal["starting", "running", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where models and pipelines have their names.

    Attributes:
        models: Ids, oldest first.
        pipelines: Ids, oldest first.
    """

    id: int
    name: str
    archived: bool
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
        versions: uuids, newest first.
        definition: Of the newest version.
    """

    id: int
    workspace_id: int
    name: str
    versions: tuple[str, ...]
    definition: Definition
    created_at: datetime
    created_by: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineVersion:
    """One definition of a pipeline. Immutable.

    Attributes:
        tensor_fields: Of each of its model versions, by their ids, when this one was made.
    """

    id: int
    uuid: str
    definition: Definition
    tensor_fields: Mapping[int, tuple[str, ...] | None]


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
