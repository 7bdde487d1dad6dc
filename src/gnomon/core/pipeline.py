"""A pipeline's definition: its steps, and the labels by which their models are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gnomon.core import limits
from gnomon.core.errors import Invalid, LimitReached
from gnomon.core.sampling import check_rate

Mode = Literal["async", "joined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model version as a definition names it.

    Attributes:
        version_id: Id of the model version.
        name: The model's name.
        ordinal: The version's number under that name.
        uuid: The version's uuid.
        sha256: Hex digest of the model file.
        single: No run of it holds the rows of several requests, because it was configured so when
            the definition was deployed.
    """

    version_id: int
    name: str
    ordinal: int
    uuid: str
    sha256: str
    single: bool = False

    def __str__(self) -> str:
        return f"{self.name}@{self.ordinal}"

    def to_json(self) -> dict[str, Any]:
        """Return the reference as JSON values."""
        return {
            "version_id": self.version_id,
            "name": self.name,
            "ordinal": self.ordinal,
            "version": self.uuid,
            "sha": self.sha256,
            **({"batch_config": "single"} if self.single else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelRef:
        """Read what `to_json` wrote."""
        return cls(
            version_id=value["version_id"],
            name=value["name"],
            ordinal=value["ordinal"],
            uuid=value["version"],
            sha256=value["sha"],
            single=value.get("batch_config") == "single",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A champion that answers, and the challengers that watch.

    Attributes:
        champion: Its outputs are the step's outputs.
        challengers: In the order the user gave; each version once.
        mode: "async": the answer never waits. "joined": it waits up to `shadow_wait_ms`.
        shadow_wait_ms: Milliseconds, used in mode "joined" only.
        sample: Share of the requests that each challenger sees, in [0, 1], in their order. Not
            given: all of them see all.
    """

    champion: ModelRef
    challengers: tuple[ModelRef, ...] = ()
    mode: Mode = "async"
    shadow_wait_ms: int = limits.SHADOW_WAIT_DEFAULT_MS
    sample: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.sample:
            object.__setattr__(self, "sample", (1.0,) * len(self.challengers))

    def labels(self) -> tuple[str, ...]:
        """Return the label of each challenger; see `labels`."""
        return labels(self.champion, self.challengers)

    def models(self) -> tuple[ModelRef, ...]:
        """Return the champion and then the challengers."""
        return (self.champion, *self.challengers)

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values, keyed by its kind."""
        if not self.challengers:
            return {"ModelInference": {"model": self.champion.to_json()}}
        return {
            "ShadowDeploy": {
                "champion": self.champion.to_json(),
                "challengers": [model.to_json() for model in self.challengers],
                "mode": self.mode,
                "shadow_wait_ms": self.shadow_wait_ms,
                "sample": list(self.sample),
            }
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Step:
        """Read what `to_json` wrote.

        Raises:
            Invalid: The step is of no known kind.
        """
        if "ModelInference" in value:
            return cls(champion=ModelRef.from_json(value["ModelInference"]["model"]))
        if "ShadowDeploy" in value:
            shadow = value["ShadowDeploy"]
            return cls(
                champion=ModelRef.from_json(shadow["champion"]),
                challengers=tuple(ModelRef.from_json(model) for model in shadow["challengers"]),
                mode=shadow["mode"],
                shadow_wait_ms=shadow["shadow_wait_ms"],
                sample=tuple(shadow.get("sample", ())),
            )
        raise Invalid(f"A step must be ModelInference or ShadowDeploy, got {sorted(value)[:3]}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The steps of one pipeline version.

    Attributes:
        deployment_config: What was asked of the machine; see `core/resources.py`.
    """

    steps: tuple[Step, ...] = ()
    deployment_config: Mapping[str, Any] = field(default_factory=dict)

    def models(self) -> tuple[ModelRef, ...]:
        """Return the models of all steps, each step's champion before its challengers."""
        return tuple(model for step in self.steps for model in step.models())

    def to_json(self) -> dict[str, Any]:
        """Return the definition as JSON values."""
        steps = [step.to_json() for step in self.steps]
        config = {"deployment_config": self.deployment_config} if self.deployment_config else {}
        return {"steps": steps, **config}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Definition:
        """Read what `to_json` wrote."""
        return cls(
            steps=tuple(Step.from_json(step) for step in value.get("steps", ())),
            deployment_config=value.get("deployment_config", {}),
        )


def labels(champion: ModelRef, challengers: Sequence[ModelRef]) -> tuple[str, ...]:
    """Name each challenger: its model's name, or `name_vN` where that name stands twice.

    A retrained model under the champion's name is the commonest challenger; `_` cannot occur in
    names, so `ccfraud_v2` cannot be another model. The champion keeps its bare name.
    """
    uses = Counter(model.name for model in (champion, *challengers))
    return tuple(
        model.name if uses[model.name] == 1 else f"{model.name}_v{model.ordinal}"
        for model in challengers
    )


def check_steps(steps: Sequence[Step]) -> None:
    """Refuse what cannot be deployed.

    Raises:
        Invalid: No step, more than one, one version twice in a step, or a sample that does not
            have a rate for each challenger.
        LimitReached: More challengers than a step may have.
    """
    if not steps:
        raise Invalid(
            "The pipeline has no steps. Add one with add_model_step or add_shadow_deploy "
            "before deploying."
        )
    if len(steps) > 1:
        raise Invalid(
            f"That makes {len(steps)} steps; this version of gnomon deploys one. Replace the step "
            "that is there, with replace_with_model_step(0, model) or "
            "replace_with_shadow_deploy(0, champion, challengers), or call clear() first."
        )
    for step in steps:
        _check_models(step)
        if len(step.sample) != len(step.challengers):
            raise Invalid(
                f"sample has {len(step.sample)} rates for {len(step.challengers)} challengers."
            )
        for rate in step.sample:
            check_rate(rate)


def _check_models(step: Step) -> None:
    if len(step.challengers) > limits.CHALLENGERS_PER_STEP_MAX:
        raise LimitReached(
            f"{len(step.challengers)} challengers were given; at most "
            f"{limits.CHALLENGERS_PER_STEP_MAX} can shadow one champion."
        )
    counts = Counter(model.version_id for model in step.models())
    for model in step.models():
        if counts[model.version_id] > 1:
            raise Invalid(
                f"{model} was given {counts[model.version_id]} times; a version can be in a "
                "step once. Upload it under another name to run it against itself."
            )
