"""What the API is sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from gnomon.api.step_bodies import Body, Rate, ShadowWait, StepBody
from gnomon.core import limits
from gnomon.core.log_settings import Level, LogSettings, WhenFull
from gnomon.core.model import BatchConfig
from gnomon.core.pipeline import Definition
from gnomon.core.shadow import ShadowChange
from gnomon.core.steps import Mode
from gnomon.stores.records import MemberRole


class NewName(Body):
    """The name of a workspace or pipeline to be made."""

    name: str


class Archiving(Body):
    """Whether a workspace is to be archived."""

    archived: bool


class RoleBody(Body):
    """What somebody is to be in a workspace."""

    role: MemberRole


class TagText(Body):
    """The text of a tag to be made."""

    tag: str


class ColumnBody(Body):
    """A column of a schema: one size for each axis, rows first; null: any."""

    name: Annotated[str, Field(max_length=limits.MODEL_NAME_BYTES_MAX)]
    dtype: Annotated[str, Field(max_length=20)]
    shape: Annotated[list[int | None], Field(max_length=limits.TENSOR_RANK_MAX)]


SchemaBody = Annotated[list[ColumnBody], Field(max_length=limits.TENSORS_PER_REQUEST_MAX)]


class Configuration(Body):
    """How a model is fed and run: what is left out stays, null is what it was at its upload."""

    model_config = ConfigDict(strict=True, extra="forbid")

    tensor_fields: list[str] | None = None
    batch_config: BatchConfig | None = None
    input_schema: SchemaBody | None = None
    output_schema: SchemaBody | None = None
    dynamic_batching_config: (
        Annotated[dict[Annotated[str, Field(max_length=64)], float], Field(max_length=20)] | None
    ) = None


class LogBody(Body):
    """How a pipeline's requests are logged; see `core.log_settings.LogSettings`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    level: Level = "async"
    when_full: WhenFull = "serve"
    redact: list[str] = Field(default_factory=list)

    def value(self) -> LogSettings:
        """Return the settings, unchecked."""
        return LogSettings(**{**dict(self), "redact": tuple(self.redact)})


class DefinitionBody(Body):
    """The steps of a pipeline, what is asked of the machine, and how its requests are logged."""

    steps: Annotated[list[StepBody], Field(max_length=limits.STEPS_MAX)]
    deployment_config: dict[str, JsonValue] = Field(default_factory=dict)
    log: LogBody = LogBody()


class ShadowChangeBody(Body):
    """How challengers are to watch from now on; what is left out stays.

    `sample` is one rate for all of them, or rates by label; `on` says by label who watches.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    mode: Mode | None = None
    shadow_wait_ms: ShadowWait | None = None
    sample: Rate | dict[str, Rate] | None = None
    on: dict[str, bool] = Field(default_factory=dict)

    def value(self) -> ShadowChange:
        """Return the change, its labels unchecked."""
        return ShadowChange(**dict(self))


class DeploymentRequest(Body):
    """What should run."""

    definition: DefinitionBody

    def value(self) -> Definition:
        """Return the definition, its references unchecked."""
        return Definition(
            steps=tuple(step.step() for step in self.definition.steps),
            deployment_config=self.definition.deployment_config,
            log=self.definition.log.value(),
        )
