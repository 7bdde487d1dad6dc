"""The steps of a definition as the API is sent them: one body for each kind of `core/steps.py`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from gnomon.core import limits
from gnomon.core.steps import (
    Audit,
    KeySplit,
    Mode,
    ModelRef,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Step,
    Validations,
)

_ID_MAX = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=_ID_MAX)]
ShadowWait = Annotated[int, Field(ge=0, le=limits.SHADOW_WAIT_MAX_MS)]
Rate = Annotated[float, Field(ge=0, le=1)]
Index = Annotated[int, Field(ge=0, le=limits.STEP_MODELS_MAX)]
ColumnName = Annotated[str, Field(min_length=1, max_length=limits.MODEL_NAME_BYTES_MAX)]
Text = Annotated[str, Field(max_length=limits.MODEL_NAME_BYTES_MAX)]


class Body(BaseModel):
    """Strict: the text "1" is no number."""

    model_config = ConfigDict(strict=True)


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


Models = Annotated[list[ModelBody], Field(max_length=limits.STEP_MODELS_MAX)]


class InferenceBody(Body):
    """One model that answers."""

    model: ModelBody

    def step(self) -> Step:
        """Return the step, its references unchecked, as all of these do."""
        return ModelStep(champion=self.model.ref())


class ShadowBody(Body):
    """A champion that answers, and challengers that watch; `sample` in their order."""

    champion: ModelBody
    challengers: Models
    mode: Mode = "async"
    shadow_wait_ms: ShadowWait = limits.SHADOW_WAIT_DEFAULT_MS
    sample: Annotated[list[Rate], Field(max_length=limits.STEP_MODELS_MAX)] = []

    def step(self) -> Step:
        """See `InferenceBody`."""
        return ModelStep(
            champion=self.champion.ref(),
            challengers=tuple(model.ref() for model in self.challengers),
            mode=self.mode,
            shadow_wait_ms=self.shadow_wait_ms,
            sample=tuple(self.sample),
        )


class MultiModelBody(Body):
    """Models that are all in the answer."""

    models: Models

    def step(self) -> Step:
        """See `InferenceBody`."""
        return MultiModelStep(members=tuple(model.ref() for model in self.models))


class WeightedBody(Body):
    """A model, and its share of the requests."""

    model: ModelBody
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RandomSplitBody(Body):
    """Models of which chance chooses one, or a column's value."""

    weights: Annotated[list[WeightedBody], Field(max_length=limits.STEP_MODELS_MAX)]
    hash_key: ColumnName | None = None

    def step(self) -> Step:
        """See `InferenceBody`."""
        return RandomSplit(
            weights=tuple(each.weight for each in self.weights),
            options=tuple(each.model.ref() for each in self.weights),
            hash_key=self.hash_key,
        )


class KeySplitBody(Body):
    """Models of which a column's value names one; `control` answers where it names none."""

    split_key: ColumnName
    control: ModelBody
    routes: Annotated[dict[Text, ModelBody], Field(max_length=limits.SPLIT_VALUES_MAX)]

    def step(self) -> Step:
        """See `InferenceBody`."""
        return KeySplit(
            meta_key=self.split_key,
            default=self.control.ref(),
            routes={text: model.ref() for text, model in self.routes.items()},
        )


class CheckBody(Body):
    """Validations: expressions by name; see `core/expression_trees.py`."""

    expressions: Annotated[
        dict[Text, JsonValue], Field(max_length=limits.VALIDATIONS_PER_PIPELINE_MAX)
    ]

    def step(self) -> Step:
        """See `InferenceBody`."""
        return Validations(expressions=self.expressions)


class SelectBody(Body):
    """One of several models answers, by its index."""

    index: Index

    def step(self) -> Step:
        """See `InferenceBody`."""
        return Select(index=self.index)


class AuditBody(Body):
    """Which models are logged: kept, and without effect."""

    start: Annotated[Index, Field(alias="from")]
    end: Annotated[Index | None, Field(alias="to")] = None

    def step(self) -> Step:
        """See `InferenceBody`."""
        return Audit(start=self.start, end=self.end)


class StepBody(Body):
    """A step: of one of these kinds, and no other."""

    ModelInference: InferenceBody | None = None
    ShadowDeploy: ShadowBody | None = None
    MultiModel: MultiModelBody | None = None
    RandomSplit: RandomSplitBody | None = None
    MetaValueSplit: KeySplitBody | None = None
    Check: CheckBody | None = None
    Nth: SelectBody | None = None
    AuditResults: AuditBody | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_of_one_kind(cls, value: Any) -> Any:
        if isinstance(value, dict):
            kinds = [kind for kind in cls.model_fields if value.get(kind) is not None]
            if len(kinds) != 1 or len(value) != 1:
                known, found = ", ".join(cls.model_fields), [str(key)[:20] for key in value][:3]
                raise ValueError(f"a step must be one of {known}; got {found}")
        return value

    def step(self) -> Step:
        """Return the step, its references unchecked."""
        [body] = [body for _, body in self if body is not None]
        step: Step = body.step()
        return step
