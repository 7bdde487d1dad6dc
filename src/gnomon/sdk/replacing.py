"""Other steps in the place of those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from gnomon.core import limits
from gnomon.core.steps import Mode
from gnomon.sdk import step_making
from gnomon.sdk.model import ModelBase
from gnomon.sdk.shadowing import ByChallenger
from gnomon.sdk.step_list import StepList


class Replacing(StepList):
    """The part of a pipeline that replaces steps.

    Each method puts what the `add_*` of the same name adds in the place of a step, which goes as a
    whole: also its challengers. What is deployed goes on as it is until `deploy()`, and is then
    replaced without a request failing. All take the step's index in `steps()`, from 0, return the
    pipeline itself, and raise IndexError if there is no such step, or what that `add_*` raises
    where the step is wrong in itself; nothing is changed then.
    """

    def replace_with_model_step(self, index: int, model: ModelBase) -> Self:
        """Put a model, without challengers, in the place of a step; see the class."""
        return self._put(index, step_making.model_step(model))

    def replace_with_shadow_deploy(
        self,
        index: int,
        champion: ModelBase,
        challengers: Iterable[ModelBase] | ModelBase,
        mode: Mode = "async",
        sample: float | ByChallenger[float] = 1.0,
        shadow_wait_ms: int = limits.SHADOW_WAIT_DEFAULT_MS,
    ) -> Self:
        """Put a champion with its challengers in the place of a step; see the class."""
        step = step_making.shadow_step(champion, challengers, mode, sample, shadow_wait_ms)
        return self._put(index, step)

    def replace_with_multi_model_step(self, index: int, models: Iterable[ModelBase]) -> Self:
        """Put models that all run on the same input in the place of a step; see the class."""
        return self._put(index, step_making.multi_model_step(models))

    def replace_with_random_split(
        self, index: int, weighted: Iterable[tuple[float, ModelBase]], hash_key: str | None = None
    ) -> Self:
        """Put a split by chance, or by a column, in the place of a step; see the class."""
        return self._put(index, step_making.random_split(weighted, hash_key))

    def replace_with_key_split(
        self,
        index: int,
        default: ModelBase,
        meta_key: str,
        options: Mapping[str | float, ModelBase],
    ) -> Self:
        """Put a split by the values of a column in the place of a step; see the class."""
        return self._put(index, step_making.key_split(default, meta_key, options))

    def replace_with_validations(self, index: int, /, **expressions: Any) -> Self:
        """Put validations in the place of a step; see the class."""
        return self._put(index, step_making.validations(expressions))

    def replace_with_validation(self, index: int, name: str, expression: Any) -> Self:
        """Put one validation in the place of a step; see the class."""
        return self._put(index, step_making.validations({name: expression}))

    def replace_with_select(self, index: int, selected: int) -> Self:
        """Put a selection of one of several models in the place of a step; see the class."""
        return self._put(index, step_making.select(selected))

    def replace_with_audit(self, index: int, audited: str) -> Self:
        """Put an audit in the place of a step; see the class."""
        return self._put(index, step_making.audit(audited))
