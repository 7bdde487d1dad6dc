"""The list that a pipeline's steps are: what is in it, and what is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from gnomon.core.errors import GnomonError
from gnomon.core.log_settings import LogSettings
from gnomon.core.pipeline import Definition
from gnomon.core.plan import check_steps
from gnomon.core.steps import Step


class StepList:
    """Steps that will be deployed next.

    A pipeline that was fetched, or just deployed, has the steps of its newest version. The first
    `add_*` of a step with models begins anew, in their place, so that a notebook can be run again;
    what is added after it is added to it. `keep_steps` says that steps stay and are added to.
    Validations, selections and audits are about the step before them, so they are always added to
    the steps that are there; one that the last step was deployed with is not added again.
    Replacing and removing change the steps that are there, wherever they are from.

    A step that is wrong in itself is refused by every method, and changes nothing. An `add_*` also
    refuses one that has nothing before it to work on. What replacing and removing leave is judged
    by `deploy()`, so that they can be done in any order.
    """

    _steps: list[Step]
    _deployment_config: Mapping[str, Any]
    _log: LogSettings
    _built_here: bool

    def _take_steps(self, definition: Definition) -> None:
        """Have the steps of a version that the server knows."""
        self._steps = list(definition.steps)
        self._deployment_config = definition.deployment_config
        self._log = definition.log
        self._built_here = False

    def steps(self) -> list[Step]:
        """Return the steps that `deploy` would run."""
        return list(self._steps)

    def definition(self) -> str:
        """Return the steps as JSON text."""
        return json.dumps(Definition(steps=tuple(self._steps)).to_json()["steps"])

    def keep_steps(self) -> Self:
        """Let what is added next be added to the steps that are there; see the class."""
        self._built_here = True
        return self

    def remove_step(self, index: int) -> Self:
        """Remove a step, with its challengers if it has some; what is deployed goes on as it is.

        Args:
            index: Of the step in `steps()`, from 0.

        Raises:
            IndexError: There is no such step.
        """
        self._check_index(index)
        del self._steps[index]
        return self.keep_steps()

    def clear(self) -> Self:
        """Remove all steps; what is deployed goes on as it is."""
        self._steps.clear()
        return self.keep_steps()

    def _add(self, step: Step) -> Self:
        """Add a step with models, to what was built here."""
        return self._append(self._steps if self._built_here else [], step)

    def _add_to_last(self, step: Step) -> Self:
        """Add a step that is about the one before it."""
        if not self._built_here and step in _after_last_model(self._steps):
            return self
        return self._append(self._steps, step)

    def _append(self, before: list[Step], step: Step) -> Self:
        if not before or _can_be_deployed(before):
            check_steps([*before, step])
        _check_alone(step)
        self._steps = [*before, step]
        return self.keep_steps()

    def _put(self, index: int, step: Step) -> Self:
        """Put a step in the place of another."""
        self._check_index(index)
        _check_alone(step)
        self._steps[index] = step
        return self.keep_steps()

    def _check_index(self, index: int) -> None:
        count = len(self._steps)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            there = f"step {count - 1} is the last" if count else "it has no steps"
            raise IndexError(
                f"The pipeline has no step {index!r}: {there}. A champion with its challengers "
                "is one step."
            )


def _can_be_deployed(steps: Sequence[Step]) -> bool:
    try:
        check_steps(steps)
    except GnomonError:
        return False
    return True


def _check_alone(step: Step) -> None:
    if step.models():
        check_steps([step])


def _after_last_model(steps: Sequence[Step]) -> list[Step]:
    return list(itertools.takewhile(lambda step: not step.models(), reversed(steps)))
