"""The steps of a pipeline, as a notebook builds them; nothing here asks the server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Self

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.pipeline import Definition, Mode, Step
from gnomon.sdk import asking
from gnomon.sdk.model import Model


class Building:
    """Steps that will be deployed next.

    Steps that were taken from the server stay until the first `add_*`, which builds anew in their
    place; a further `add_*` adds to what was built.
    """

    _steps: list[Step]
    _deployed_steps: tuple[Step, ...]
    _built_here: bool

    def _take_steps(self, definition: Definition) -> None:
        """Have the steps of a version that the server knows."""
        self._steps = list(definition.steps)
        self._deployed_steps = definition.steps
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
        """
        return self._add(Step(champion=_model(model)._ref()))

    def add_shadow_deploy(
        self,
        champion: Model,
        challengers: Iterable[Model] | Model,
        mode: Mode = "async",
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
            shadow_wait_ms: Milliseconds, for mode "joined".

        Raises:
            Invalid: Another mode, a wait out of bounds, or challengers that are no list.
        """
        if mode not in ("async", "joined"):
            raise Invalid(f'mode must be "async" or "joined", got {mode!r}.')
        asking.check_shadow_wait(shadow_wait_ms)
        if isinstance(challengers, Model):
            challengers = [challengers]
        if not isinstance(challengers, Iterable):
            raise Invalid(
                "challengers must be a list of models, as [model], got "
                f"{type(challengers).__name__}."
            )
        return self._add(
            Step(
                champion=_model(champion)._ref(),
                challengers=tuple(_model(model)._ref() for model in challengers),
                mode=mode,
                shadow_wait_ms=shadow_wait_ms,
            )
        )

    def clear(self) -> Self:
        """Remove all steps; what is deployed goes on as it is."""
        self._steps = []
        self._built_here = True
        return self

    def _add(self, step: Step) -> Self:
        if not self._built_here:
            self.clear()
        self._steps.append(step)
        return self

    def _steps_text(self) -> str:
        return "; ".join(map(_step_text, self._steps))


def _model(model: Model) -> Model:
    if not isinstance(model, Model):
        raise TypeError(
            f"A step takes models as upload_model and get_model return them, got "
            f"{type(model).__name__}."
        )
    return model


def _step_text(step: Step) -> str:
    return ", ".join([step.champion.name, *(f"{label} (shadow)" for label in step.labels())])
