"""The steps of a pipeline, as a notebook builds them; nothing here asks the server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.pipeline import Definition, Mode, Step, check_steps
from gnomon.core.sampling import rates_by_label
from gnomon.sdk import asking
from gnomon.sdk.bars import share_text
from gnomon.sdk.model import Model
from gnomon.sdk.shadowing import by_label, check_mode
from gnomon.sdk.unbuilt import Unbuilt


class Building(Unbuilt):
    """Steps that will be deployed next.

    Steps that were taken from the server, or deployed, stay until the first `add_*`, which builds
    anew in their place; a further `add_*` adds to what was built. Replacing and removing change
    the steps that are there, wherever they are from.
    """

    _steps: list[Step]
    _deployment_config: Mapping[str, Any]
    _built_here: bool

    def _take_steps(self, definition: Definition) -> None:
        """Have the steps of a version that the server knows."""
        self._steps = list(definition.steps)
        self._deployment_config = definition.deployment_config
        self._built_here = False

    def steps(self) -> list[Step]:
        """Return the steps that `deploy` would run."""
        return list(self._steps)

    def definition(self) -> str:
        """Return the steps as JSON text."""
        return json.dumps(Definition(steps=tuple(self._steps)).to_json()["steps"])

    def add_model_step(self, model: Model) -> Self:
        """Add a model that answers, without challengers. See the class for when steps begin anew.

        Returns:
            The pipeline itself, as all of these do.

        Raises:
            Invalid: There is a step already that was built here; nothing is changed then, as by
                all of these.
        """
        return self._add(_model_step(model))

    def add_shadow_deploy(
        self,
        champion: Model,
        challengers: Iterable[Model] | Model,
        mode: Mode = "async",
        sample: float | Mapping[str | Model, float] = 1.0,
        shadow_wait_ms: int = limits.SHADOW_WAIT_DEFAULT_MS,
    ) -> Self:
        """Add a champion that answers and challengers that run on the same input.

        On a pipeline that was fetched or just deployed this takes the place of its steps; see
        the class.

        Args:
            champion: Its outputs are the answer.
            challengers: Their outputs are logged, and in the answer where it waited for them.
                A single model is taken for a list of one.
            mode: "async": an answer waits for challengers only where the request asks for it.
                "joined": every answer waits for them, `shadow_wait_ms` at most.
            sample: Share of the requests that challengers see, from 0 to 1: one for all of them,
                or by challenger (a model, or its label), where one that is not named sees all.
                Which requests these are is decided by their ids.
            shadow_wait_ms: Milliseconds, for mode "joined".

        All three can be changed while the pipeline runs; see `change_shadow`.

        Raises:
            Invalid: Another mode, a wait or a sample out of bounds, a sample for what is no
                challenger, challengers that are no list, a version twice, or there is a step
                already that was built here.
            LimitReached: More challengers than a step may have.
        """
        return self._add(_shadow_step(champion, challengers, mode, sample, shadow_wait_ms))

    def replace_with_model_step(self, index: int, model: Model) -> Self:
        """Put a model, without challengers, in the place of a step.

        A step that has challengers is replaced with them: it is one step. What is deployed goes
        on as it is until `deploy()`, and is then replaced without a request failing.

        Args:
            index: Of the step in `steps()`, from 0.

        Raises:
            IndexError: There is no such step.
        """
        return self._put(index, _model_step(model))

    def replace_with_shadow_deploy(
        self,
        index: int,
        champion: Model,
        challengers: Iterable[Model] | Model,
        mode: Mode = "async",
        sample: float | Mapping[str | Model, float] = 1.0,
        shadow_wait_ms: int = limits.SHADOW_WAIT_DEFAULT_MS,
    ) -> Self:
        """Put a champion with its challengers in the place of a step, which goes as a whole.

        Args:
            index: Of the step in `steps()`, from 0.

        The others are those of `add_shadow_deploy`.

        Raises:
            IndexError: There is no such step.
            Invalid, LimitReached: See `add_shadow_deploy`.
        """
        return self._put(index, _shadow_step(champion, challengers, mode, sample, shadow_wait_ms))

    def remove_step(self, index: int) -> Self:
        """Remove a step, with its challengers if it has some; what is deployed goes on as it is.

        Args:
            index: Of the step in `steps()`, from 0.

        Raises:
            IndexError: There is no such step.
        """
        self._check_index(index)
        return self._build(self._steps[:index] + self._steps[index + 1 :])

    def clear(self) -> Self:
        """Remove all steps; what is deployed goes on as it is."""
        return self._build([])

    def _add(self, step: Step) -> Self:
        return self._build([*(self._steps if self._built_here else ()), step])

    def _put(self, index: int, step: Step) -> Self:
        self._check_index(index)
        return self._build([*self._steps[:index], step, *self._steps[index + 1 :]])

    def _build(self, steps: list[Step]) -> Self:
        """Have these steps, if they can be deployed, or none."""
        if steps:
            check_steps(steps)
        self._steps = steps
        self._built_here = True
        return self

    def _check_index(self, index: int) -> None:
        count = len(self._steps)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            there = f"step {count - 1} is the last" if count else "it has no steps"
            raise IndexError(
                f"The pipeline has no step {index!r}: {there}. A champion with its challengers "
                "is one step."
            )

    def _steps_text(self) -> str:
        return steps_text(self._steps)


def _model(model: Model) -> Model:
    if not isinstance(model, Model):
        raise TypeError(
            f"A step takes models as upload_model and get_model return them, got "
            f"{type(model).__name__}."
        )
    return model


def _model_step(model: Model) -> Step:
    return Step(champion=_model(model)._ref())


def _shadow_step(
    champion: Model,
    challengers: Iterable[Model] | Model,
    mode: Mode,
    sample: float | Mapping[str | Model, float],
    shadow_wait_ms: int,
) -> Step:
    check_mode(mode)
    asking.check_shadow_wait(shadow_wait_ms)
    if isinstance(challengers, Model):
        challengers = [challengers]
    if not isinstance(challengers, Iterable):
        raise Invalid(
            f"challengers must be a list of models, as [model], got {type(challengers).__name__}."
        )
    refs = tuple(_model(model)._ref() for model in challengers)
    step = Step(
        champion=_model(champion)._ref(),
        challengers=refs,
        mode=mode,
        shadow_wait_ms=shadow_wait_ms,
    )
    by_version = {ref.uuid: label for ref, label in zip(refs, step.labels(), strict=True)}
    rates = rates_by_label(by_label(sample, by_version), step.labels())
    return replace(step, sample=tuple(rates.get(label, 1.0) for label in step.labels()))


def steps_text(steps: Iterable[Step]) -> str:
    """Return steps in a line, with all models of each."""
    return "; ".join(map(_step_text, steps))


def _step_text(step: Step) -> str:
    shadows = [
        f"{label} (shadow)" if rate == 1 else f"{label} (shadow, {share_text(rate)})"
        for label, rate in zip(step.labels(), step.sample, strict=True)
    ]
    joined = step.challengers and step.mode == "joined"
    waits = f" - answers wait up to {step.shadow_wait_ms} ms" if joined else ""
    return ", ".join([step.champion.name, *shadows]) + waits
