"""What the API is sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gnomon.core import limits
from gnomon.core.pipeline import Definition, Mode, ModelRef, Step

_ID_MAX = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=_ID_MAX)]


class Body(BaseModel):
    """Strict: the text "1" is no number."""

    model_config = ConfigDict(strict=True)


class NewName(Body):
    """The name of a workspace or pipeline to be made."""

    name: str


class Configuration(Body):
    """Which columns feed a model's inputs; null: found by name."""

    tensor_fields: list[str] | None


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
    """A champion that answers, and challengers that watch."""

    champion: ModelBody
    challengers: list[ModelBody]
    mode: Mode = "async"
    shadow_wait_ms: Annotated[int, Field(ge=0, le=limits.SHADOW_WAIT_MAX_MS)] = (
        limits.SHADOW_WAIT_DEFAULT_MS
    )


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
        )


class DefinitionBody(Body):
    """The steps of a pipeline."""

    steps: list[InferenceStepBody | ShadowStepBody]


class DeploymentRequest(Body):
    """What should run."""

    definition: DefinitionBody

    def value(self) -> Definition:
        """Return the definition, its references unchecked."""
        return Definition(steps=tuple(step.step() for step in self.definition.steps))
