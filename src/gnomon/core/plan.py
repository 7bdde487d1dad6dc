"""From the steps of a definition to what runs: stages one after the other, and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gnomon.core import limits
from gnomon.core.errors import Invalid, LimitReached
from gnomon.core.names import check_validation_name, name_key
from gnomon.core.sampling import check_rate
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How one of a stage's champions is chosen.

    Attributes:
        column: Whose value decides; None: chance.
        shares: Of the requests, for each champion, their sum 1; empty: `values` decide.
        values: By text, the index of the champion; every other text means the first.
    """

    column: str | None = None
    shares: tuple[float, ...] = ()
    values: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the split as JSON values."""
        values = None if self.values is None else dict(self.values)
        return {"column": self.column, "shares": list(self.shares), "values": values}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Split:
        """Read what `to_json` wrote."""
        return cls(column=value["column"], shares=tuple(value["shares"]), values=value["values"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Models that run on the same input: one champion answers, the challengers watch.

    Attributes:
        step: Index of the step that it is.
        champions: One, or the options of a split.
        champion_labels: Theirs.
        split: How one of several champions is chosen.
        challengers: In the order the user gave.
        labels: Theirs. Every label is unique in the pipeline.
        mode, shadow_wait_ms, sample: See `ModelStep`.
    """

    step: int
    champions: tuple[ModelRef, ...]
    champion_labels: tuple[str, ...] = ()
    split: Split | None = None
    challengers: tuple[ModelRef, ...] = ()
    labels: tuple[str, ...] = ()
    mode: Mode = "async"
    shadow_wait_ms: int = limits.SHADOW_WAIT_DEFAULT_MS
    sample: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Validations of what a stage gives.

    Attributes:
        stage: Index of the stage.
        expressions: By name.
    """

    stage: int
    expressions: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        return {"stage": self.stage, "expressions": dict(self.expressions)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Check:
        """Read what `to_json` wrote."""
        return cls(stage=value["stage"], expressions=value["expressions"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What runs.

    Attributes:
        stages: At least one; the outputs of one are the inputs of the next.
        checks: In the order of their stages.
    """

    stages: tuple[Stage, ...]
    checks: tuple[Check, ...] = ()

    @property
    def mode(self) -> Mode:
        """Return "joined" if an answer waits for the challengers of any stage."""
        return "joined" if any(stage.mode == "joined" for stage in self.stages) else "async"

    @property
    def shadow_wait_ms(self) -> int:
        """Return how long an answer waits, at most, in milliseconds."""
        joined = [stage for stage in self.stages if stage.mode == "joined"] or self.stages
        return max(stage.shadow_wait_ms for stage in joined)

    def labels(self) -> tuple[str, ...]:
        """Return the labels of all challengers, in the order of the stages."""
        return tuple(label for stage in self.stages for label in stage.labels)

    def sample(self) -> dict[str, float]:
        """Return the share of the requests that each challenger sees, by label."""
        return {
            label: rate
            for stage in self.stages
            for label, rate in zip(stage.labels, stage.sample, strict=True)
        }


def plan(steps: Sequence[Step]) -> Plan:
    """Return what a definition's steps make run.

    Raises:
        Invalid: They cannot be deployed: no model, a model twice in a step, shares or rates out of
            bounds, a validation's name twice, or a step that has nothing before it to work on.
        LimitReached: More steps, challengers or options than there may be.
    """
    _check_counts(steps)
    stages: list[Stage] = []
    checks: list[Check] = []
    for index, step in enumerate(steps):
        _check_models(step)
        match step:
            case Validations():
                if not stages:
                    raise _out_of_place(index, "Validations check", "a step with a model")
                if not step.expressions:
                    raise Invalid(f"Step {index} has no validations.")
                checks.append(Check(stage=len(stages) - 1, expressions=step.expressions))
            case Audit():
                if not stages:
                    raise _out_of_place(index, "An audit names models of", "a step with a model")
            case Select():
                stages.append(_selected(steps, index, stages))
            case _:
                stages.append(_stage(index, step))
    _check_names(checks)
    return Plan(stages=_labelled(stages), checks=tuple(checks))


def check_steps(steps: Sequence[Step]) -> None:
    """Refuse what cannot be deployed.

    Raises:
        Invalid, LimitReached: See `plan`.
    """
    plan(steps)


def _stage(index: int, step: Step) -> Stage:
    match step:
        case ModelStep():
            return Stage(
                step=index,
                champions=(step.champion,),
                challengers=step.challengers,
                mode=step.mode,
                shadow_wait_ms=step.shadow_wait_ms,
                sample=_rates(step),
            )
        case MultiModelStep():
            return _several(index, step)  # every answer waits for all of them
        case RandomSplit():
            split = Split(column=step.hash_key, shares=_shares(step))
            return Stage(step=index, champions=step.options, split=split)
        case KeySplit():
            models = step.models()
            values = {text: models.index(model) for text, model in step.routes.items()}
            split = Split(column=step.meta_key, values=values)
            return Stage(step=index, champions=models, split=split)
    raise AssertionError(step)


def _several(index: int, step: MultiModelStep, *, answers: int = 0, mode: Mode = "joined") -> Stage:
    """Return the stage of several models: one answers, the others are challengers."""
    others = tuple(model for at, model in enumerate(step.members) if at != answers)
    return Stage(
        step=index,
        champions=(step.members[answers],),
        challengers=others,
        mode=mode,
        shadow_wait_ms=(
            limits.SHADOW_WAIT_MAX_MS if mode == "joined" else limits.SHADOW_WAIT_DEFAULT_MS
        ),
        sample=(1.0,) * len(others),
    )


def _selected(steps: Sequence[Step], index: int, stages: list[Stage]) -> Stage:
    """Take back the stage of several models before a selection, for one that it selects of."""
    step, before = steps[index], index - 1
    while before >= 0 and isinstance(steps[before], Audit):
        before -= 1
    several = steps[before] if before >= 0 else None
    if not isinstance(several, MultiModelStep):
        raise _out_of_place(index, "A selection picks one of", "a step of several models")
    assert isinstance(step, Select)
    count = len(several.members)
    if not 0 <= step.index < count:
        raise Invalid(
            f"Step {index} selects model {step.index}; step {before} has the models 0 to "
            f"{count - 1}."
        )
    stages.pop()
    return _several(before, several, answers=step.index, mode="async")


def _labelled(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Give every model a label.

    A champion has its name, and so does a challenger whose name nobody else has. Where that does
    not tell models apart it is `name_vN`, or `name_vN_sM`: N is the version, M the index of the
    step, which only matters where a version is in several. `_` cannot occur in names.
    """
    champions = Counter(model.name for stage in stages for model in stage.champions)
    everyone = champions + Counter(model.name for stage in stages for model in stage.challengers)
    versioned = Counter(
        model.version_id
        for stage in stages
        for models, names in ((stage.champions, champions), (stage.challengers, everyone))
        for model in models
        if names[model.name] > 1
    )

    def labels(stage: Stage, models: Sequence[ModelRef], names: Counter[str]) -> tuple[str, ...]:
        return tuple(label(stage, model, names) for model in models)

    def label(stage: Stage, model: ModelRef, names: Counter[str]) -> str:
        if names[model.name] == 1:
            return model.name
        version = f"{model.name}_v{model.ordinal}"
        return version if versioned[model.version_id] == 1 else f"{version}_s{stage.step}"

    return tuple(
        replace(
            stage,
            champion_labels=labels(stage, stage.champions, champions),
            labels=labels(stage, stage.challengers, everyone),
        )
        for stage in stages
    )


# What is refused


def _check_counts(steps: Sequence[Step]) -> None:
    if not any(step.models() for step in steps):
        raise Invalid(
            "The pipeline has no steps. Add one with add_model_step or add_shadow_deploy "
            "before deploying."
            if not steps
            else "The pipeline has no step with a model. Add one with add_model_step."
        )
    if len(steps) > limits.STEPS_MAX:
        raise LimitReached(
            f"That makes {len(steps)} steps; at most {limits.STEPS_MAX} can be deployed."
        )
    watching = sum(max(0, len(step.models()) - 1) for step in steps)
    if watching > limits.CHALLENGERS_PER_PIPELINE_MAX:
        raise LimitReached(
            f"{watching} models beside the first of each step; at most "
            f"{limits.CHALLENGERS_PER_PIPELINE_MAX} can be in one pipeline."
        )


def _check_models(step: Step) -> None:
    if isinstance(step, ModelStep) and len(step.challengers) > limits.CHALLENGERS_PER_STEP_MAX:
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
    if isinstance(step, MultiModelStep | RandomSplit | KeySplit) and len(step.models()) < 2:
        raise Invalid(f"{len(step.models())} models were given; such a step has two or more.")
    if isinstance(step, RandomSplit) and step.hash_key is not None:
        _check_column("hash_key", step.hash_key)
    if isinstance(step, KeySplit):
        _check_column("meta_key", step.meta_key)
        if len(step.routes) > limits.SPLIT_VALUES_MAX:
            raise LimitReached(
                f"A key split has {len(step.routes)} values; at most {limits.SPLIT_VALUES_MAX} "
                "can be told apart."
            )


def _check_column(argument: str, column: object) -> None:
    if not isinstance(column, str) or not 0 < len(column.encode()) <= limits.MODEL_NAME_BYTES_MAX:
        raise Invalid(
            f"{argument} must be the name of a column, 1 to {limits.MODEL_NAME_BYTES_MAX} bytes, "
            f"got {str(column)[:80]!r}."
        )


def _check_names(checks: Sequence[Check]) -> None:
    given = [name for check in checks for name in check.expressions]
    names = Counter(name_key(check_validation_name(name)) for name in given)
    for name, count in names.items():
        if count > 1:
            raise Invalid(f"There are {count} validations named {name!r}; a name stands once.")
    if len(names) > limits.VALIDATIONS_PER_PIPELINE_MAX:
        raise LimitReached(
            f"{len(names)} validations; at most {limits.VALIDATIONS_PER_PIPELINE_MAX} can be in "
            "one pipeline."
        )


def _rates(step: ModelStep) -> tuple[float, ...]:
    if len(step.sample) != len(step.challengers):
        raise Invalid(
            f"sample has {len(step.sample)} rates for {len(step.challengers)} challengers."
        )
    for rate in step.sample:
        check_rate(rate)
    return step.sample


def _shares(step: RandomSplit) -> tuple[float, ...]:
    for weight in step.weights:
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight < float("inf"):
            raise Invalid(f"A weight must be a number from 0 on, got {str(weight)[:40]}.")
    total = sum(step.weights)
    if not 0 < total < float("inf"):
        raise Invalid("At least one weight must be above 0, and their sum a finite number.")
    return tuple(weight / total for weight in step.weights)


def _out_of_place(index: int, does: str, needs: str) -> Invalid:
    return Invalid(f"{does} {needs}, and step {index} has none before it.")
