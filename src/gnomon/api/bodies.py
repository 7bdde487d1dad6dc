"""What the API is sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gnomon.core import limits
from gnomon.core.model import BatchConfig
from gnomon.core.pipeline import Definition, Mode, ModelRef, Step
from gnomon.core.shadow import ShadowChange
from gnomon.stores.records import MemberRole

_ID_MAX = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=_ID_MAX)]
ShadowWait = Annotated[int, Field(ge=0, le=limits.SHADOW_WAIT_MAX_MS)]
Rate = Annotated[float, Field(ge=0, le=1)]


class Body(BaseModel):
    """Strict: the text "1" is no number."""

    model_config = ConfigDict(strict=True)


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


class ModelBody(Body):
    """A model version: looked up by its id and uuid, the rest is for messages."""

    version_id: Id
    version: str
    name: str = ""
    ordinal: Annotated[int, Field(ge=0, le=_ID_MAX)] = 0

    def ref(self) -> ModelRef:
        """Return the reference, unchecked."""
        return ModelRef(
            version_id=self.version_id,
            name=self.name,
            ordinal=self.ordinal,
            uuid=self.version,
            sha256="",
        )


class InferenceBody(Body):
    """One model that answers."""

    model: ModelBody


class ShadowBody(Body):
    """A champion that answers, and challengers that watch; `sample` in their order."""

    champion: ModelBody
    challengers: list[ModelBody]
    mode: Mode = "async"
    shadow_wait_ms: ShadowWait = limits.SHADOW_WAIT_DEFAULT_MS
    sample: list[Rate] = []


class InferenceStepBody(Body):
    """A step of one model."""

    ModelInference: InferenceBody

    def step(self) -> Step:
        """Return the step, its references unchecked."""
        return Step(champion=self.ModelInference.model.ref())


class ShadowStepBody(Body):
    """A step with challengers."""

    ShadowDeploy: ShadowBody

    def step(self) -> Step:
        """Return the step, its references unchecked."""
        shadow = self.ShadowDeploy
        return Step(
            champion=shadow.champion.ref(),
            challengers=tuple(model.ref() for model in shadow.challengers),
            mode=shadow.mode,
            shadow_wait_ms=shadow.shadow_wait_ms,
            sample=tuple(shadow.sample),
        )


class DefinitionBody(Body):
    """The steps of a pipeline, and what is asked of the machine (`core/resources.py`)."""

    steps: list[InferenceStepBody | ShadowStepBody]
    deployment_config: dict[str, JsonValue] = {}


class ShadowChangeBody(Body):
    """How challengers are to watch from now on; what is left out stays.

    `sample` is one rate for all of them, or rates by label; `on` says by label who watches.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    mode: Mode | None = None
    shadow_wait_ms: ShadowWait | None = None
    sample: Rate | dict[str, Rate] | None = None
    on: dict[str, bool] = {}

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
        )
