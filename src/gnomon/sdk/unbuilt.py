"""Kinds of step that other platforms have and gnomon does not: refused where they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from gnomon.core.errors import Invalid


def _refusing(kind: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise Invalid(
            f"{kind}: this version of gnomon has no such step, and the pipeline is as it was. "
            f"{instead}"
        )

    refuse.__doc__ = f"""Refuse: there is no such step yet.

        Raises:
            Invalid: Always. {instead}
        """
    return refuse


_ONE_STEP = (
    "It deploys one step: a model (add_model_step), or a champion with challengers "
    "(add_shadow_deploy)."
)
_SEVERAL = "Several models see the same input where one of them answers: add_shadow_deploy."
_SPLIT = (
    "A share of the requests can be sampled for a challenger: add_shadow_deploy(champion, "
    "[challenger], sample=0.1)."
)
_CHECK = "Answers and logs can be checked as data frames: pipeline.infer(frame), pipeline.logs()."


class Unbuilt:
    """The part of a pipeline that says what it cannot have."""

    add_multi_model_step = _refusing("A step of several models", _SEVERAL)
    replace_with_multi_model_step = _refusing("A step of several models", _SEVERAL)
    add_random_split = _refusing("A random split", _SPLIT)
    replace_with_random_split = _refusing("A random split", _SPLIT)
    add_key_split = _refusing("A key split", _SPLIT)
    replace_with_key_split = _refusing("A key split", _SPLIT)
    add_validation = _refusing("A validation", _CHECK)
    add_validations = _refusing("A validation", _CHECK)
    replace_with_validations = _refusing("A validation", _CHECK)
    add_alert = _refusing("An alert", _CHECK)
    replace_with_alert = _refusing("An alert", _CHECK)
    add_select = _refusing("A selection of outputs", _ONE_STEP)
    replace_with_select = _refusing("A selection of outputs", _ONE_STEP)
    add_audit = _refusing("An audit", _ONE_STEP)
    replace_with_audit = _refusing("An audit", _ONE_STEP)
