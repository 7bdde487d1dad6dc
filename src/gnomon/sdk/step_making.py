"""From what a notebook gives an `add_*` to the step that it means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

from gnomon.core.errors import Invalid
from gnomon.core.sampling import rates_by_label
from gnomon.core.splits import key_text
from gnomon.core.steps import (
    Audit,
    KeySplit,
    Mode,
    ModelRef,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Validations,
)
from gnomon.sdk import asking
from gnomon.sdk.model import ModelBase
from gnomon.sdk.shadowing import ByChallenger, by_label, check_mode
from gnomon.sdk.validating import expression


def model_step(model: Any) -> ModelStep:
    """Return the step of a model that answers, without challengers.

    Raises:
        TypeError: It is no model; so it is in all of these.
    """
    return ModelStep(champion=_ref(model))


def shadow_step(
    champion: Any,
    challengers: Any,
    mode: Mode,
    sample: float | ByChallenger[float],
    shadow_wait_ms: int,
) -> ModelStep:
    """Return the step of a champion with challengers.

    Raises:
        Invalid: Mode, wait or sample is out of bounds, or the challengers are no list.
    """
    check_mode(mode)
    asking.check_shadow_wait(shadow_wait_ms)
    given = [challengers] if isinstance(challengers, ModelBase) else challengers
    refs = _refs("challengers", given)
    step = ModelStep(
        champion=_ref(champion), challengers=refs, mode=mode, shadow_wait_ms=shadow_wait_ms
    )
    labels = dict(zip((ref.uuid for ref in refs), step.labels(), strict=True))
    rates = rates_by_label(by_label(sample, labels), step.labels())
    return replace(step, sample=tuple(rates.get(label, 1.0) for label in step.labels()))


def multi_model_step(models: Any) -> MultiModelStep:
    """Return the step of models that all answer.

    Raises:
        Invalid: They are no list.
    """
    return MultiModelStep(members=_refs("models", models))


def random_split(weighted: Any, hash_key: Any) -> RandomSplit:
    """Return the step of which one model answers, by chance or by a column.

    Raises:
        Invalid: It is no list of weights with models, or the column no name.
    """
    pairs = list(weighted) if isinstance(weighted, Iterable) else [weighted]
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not _is_number(pair[0]):
            raise Invalid(
                "A random split takes pairs of a weight and a model, as [(0.9, champion), "
                f"(0.1, other)], got {_kinds(pair)}."
            )
    return RandomSplit(
        weights=tuple(float(weight) for weight, _ in pairs),
        options=tuple(_ref(model) for _, model in pairs),
        hash_key=None if hash_key is None else _column("hash_key", hash_key),
    )


def key_split(default: Any, meta_key: Any, options: Any) -> KeySplit:
    """Return the step of which the model answers that the value of a column names.

    Raises:
        Invalid: The column is no name, or the options are no mapping of texts to models.
    """
    if not isinstance(options, Mapping) or not options:
        raise Invalid(
            'options must be a mapping of values to models, as {"eu": model}, got '
            f"{_kinds(options)}."
        )
    for value in options:
        if not isinstance(value, str | int | float):
            raise Invalid(
                f"A value of options must be a text, a number or a bool, got {_kinds(value)}."
            )
    return KeySplit(
        meta_key=_column("meta_key", meta_key),
        default=_ref(default),
        routes={key_text(value): _ref(model) for value, model in options.items()},
    )


def validations(expressions: Mapping[str, Any]) -> Validations:
    """Return the step of conditions that mark anomalies.

    Raises:
        Invalid: There is none, a name cannot be one, or an expression does what cannot be done.
    """
    if not expressions:
        raise Invalid(
            "No validation was given: name each, as add_validations(high=pl.col('out.price') > 9)."
        )
    return Validations(
        expressions={name: expression(given, name) for name, given in expressions.items()}
    )


def select(index: Any) -> Select:
    """Return the step that lets one of several models answer.

    Raises:
        Invalid: It is no index.
    """
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise Invalid(f"A selection takes the index of a model, from 0, got {str(index)[:40]!r}.")
    return Select(index=index)


def audit(span: Any) -> Audit:
    """Return the step that names models to be logged.

    Raises:
        Invalid: It is no span of indices.
    """
    found = re.fullmatch(r"(\d{1,3})?:(\d{1,3})?", span) if isinstance(span, str) else None
    start, end = (None, None) if found is None else found.groups()
    if found is None or (start and end and int(start) >= int(end)):
        raise Invalid(
            'An audit takes "start:end", indices of models of which one may be left out, as '
            f'"1:", got {str(span)[:40]!r}.'
        )
    return Audit(start=int(start or 0), end=None if end is None else int(end))


def _ref(model: Any) -> ModelRef:
    if not isinstance(model, ModelBase):
        raise TypeError(
            f"A step takes models as upload_model and get_model return them, got "
            f"{type(model).__name__}."
        )
    return model._ref()


def _refs(what: str, models: Any) -> tuple[ModelRef, ...]:
    if not isinstance(models, Iterable):
        raise Invalid(f"{what} must be a list of models, as [model], got {type(models).__name__}.")
    return tuple(map(_ref, models))


def _column(what: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise Invalid(f"{what} must be the name of a column, got {str(name)[:40]!r}.")
    return name


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _kinds(value: Any) -> str:
    """Return of what types something is, which has models in it that say too much of themselves."""
    if isinstance(value, tuple | list):
        return f"({', '.join(type(each).__name__ for each in value[:3])})"
    return type(value).__name__
