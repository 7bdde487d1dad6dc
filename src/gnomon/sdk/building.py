"""The steps of a pipeline, as a notebook builds them; nothing here asks the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Self

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.steps import Mode
from gnomon.sdk import step_making
from gnomon.sdk.model import ModelBase
from gnomon.sdk.replacing import Replacing
from gnomon.sdk.shadowing import ByChallenger


class Building(Replacing):
    """The part of a pipeline that adds steps.

    What a step gives is what the next one takes. When steps begin anew: see `StepList`. All of
    these return the pipeline itself. Where one raises, nothing is changed. A model twice in a
    step, more steps or models than there may be (`LimitReached`), and a step with nothing before
    it to work on are refused by all (`Invalid`).
    """

    def add_model_step(self, model: ModelBase) -> Self:
        """Add a model that answers, without challengers.

        Raises:
            TypeError: It is none, as `upload_model` and `get_model` return them.
        """
        return self._add(step_making.model_step(model))

    def add_shadow_deploy(
        self,
        champion: ModelBase,
        challengers: Iterable[ModelBase] | ModelBase,
        mode: Mode = "async",
        sample: float | ByChallenger[float] = 1.0,
        shadow_wait_ms: int = limits.SHADOW_WAIT_DEFAULT_MS,
    ) -> Self:
        """Add a champion that answers and challengers that run on the same input.

        Args:
            champion: Its outputs are the answer, or the input of the next step.
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
                challenger, or challengers that are no list.
            LimitReached: More challengers than a step may have.
        """
        step = step_making.shadow_step(champion, challengers, mode, sample, shadow_wait_ms)
        return self._add(step)

    def add_multi_model_step(self, models: Iterable[ModelBase]) -> Self:
        """Add models that all run on the same input, and are all in every answer.

        The first is `out`, the others are beside it as challengers are, unless `add_select` says
        which one it is. Only a request that asks to wait less (`shadow_wait_ms`) may lack some.

        Args:
            models: Two or more.
        """
        return self._add(step_making.multi_model_step(models))

    def add_random_split(
        self, weighted: Iterable[tuple[float, ModelBase]], hash_key: str | None = None
    ) -> Self:
        """Add a split: one of several models answers a request, each its share of them.

        The answer says which one in `out._model_split`.

        Args:
            weighted: Pairs of a weight and a model, two or more. What counts is a weight's share
                of their sum.
            hash_key: Column whose value decides instead of chance, so that the same value finds
                the same model. A number from 0 to 1 stands for the random number itself.

        Raises:
            Invalid: These are no pairs, a weight is below 0, or all are 0.
        """
        return self._add(step_making.random_split(weighted, hash_key))

    def add_key_split(
        self, default: ModelBase, meta_key: str, options: Mapping[str | float, ModelBase]
    ) -> Self:
        """Add a split: the value of a column says which model answers.

        The answer says which one in `out._model_split`.

        Args:
            default: Answers where the value is none of `options`.
            meta_key: The column.
            options: By value: a text, a number or a bool. A number is the same as its text.

        Raises:
            Invalid: The options are no mapping of values to models.
        """
        return self._add(step_making.key_split(default, meta_key, options))

    def add_validations(self, /, **expressions: Any) -> Self:
        """Add conditions on what came in and what comes out; where one is true is an anomaly.

        Answers and logs say so row by row: `anomaly.<name>`, and `anomaly.count`.

        Args:
            expressions: By name, `polars.Expr` or a text, over `in.<input>` of the pipeline and
                `out.<output>` of the step before, as `pl.col("out.price").list.get(0) > 9`.

        Raises:
            Invalid: A name cannot be one or is there already, or an expression does what is not
                allowed; the message names the operation.
        """
        return self._add_to_last(step_making.validations(expressions))

    def add_validation(self, name: str, expression: Any) -> Self:
        """Add one condition; see `add_validations`."""
        return self._add_to_last(step_making.validations({name: expression}))

    def add_select(self, index: int) -> Self:
        """Say which model of the multi-model step before is `out`; nobody waits for the others.

        Args:
            index: Of the model in that step, from 0.

        Raises:
            Invalid: There is no such model, or no such step before.
        """
        return self._add_to_last(step_making.select(index))

    def add_audit(self, audited: str) -> Self:
        """Say which models of the step before are logged. All are, always: this has no effect.

        Args:
            audited: "start:end", indices of models in that step; either may be left out.

        Raises:
            Invalid: It is no such text.
        """
        return self._add_to_last(step_making.audit(audited))

    def add_alert(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: there are no alerts.

        Raises:
            Invalid: Always.
        """
        raise Invalid(
            "An alert: this version of gnomon has no such step, and the pipeline is as it was. "
            "Rows can be marked with add_validations, and counts are in pipeline.status() and at "
            "/v1/metrics."
        )

    replace_with_alert = add_alert
