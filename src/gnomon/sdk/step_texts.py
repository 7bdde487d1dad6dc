"""Steps in words: one text for each, with all of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gnomon.core.errors import GnomonError
from gnomon.core.plan import plan
from gnomon.core.steps import (
    Audit,
    KeySplit,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Step,
    Validations,
)
from gnomon.sdk.bars import share_text
from gnomon.sdk.html import Html, cell

Labels = Mapping[int, str]  # by the id of the model version


def steps_text(steps: Sequence[Step]) -> str:
    """Return steps in a line."""
    return "; ".join(step_texts(steps))


def steps_html(steps: Sequence[Step]) -> Html:
    """Return steps as HTML, a line each."""
    return Html("<br>".join(map(cell, step_texts(steps))))


def step_texts(steps: Sequence[Step]) -> list[str]:
    """Return a short text for each step, which names its models as answers and logs do."""
    labels = _labels(steps)
    return [_text(step, labels.get(index) or _alone(step)) for index, step in enumerate(steps)]


def shares(step: RandomSplit) -> tuple[float, ...]:
    """Return the share of the requests that each model of a split answers, in [0, 1]."""
    total = sum(step.weights)
    return tuple(weight / total for weight in step.weights)


def _labels(steps: Sequence[Step]) -> dict[int, Labels]:
    """Return the labels of the models of each step, by its index."""
    try:
        stages = plan(steps).stages
    except GnomonError:  # it is being built
        return {}
    return {
        stage.step: {
            model.version_id: label
            for models, labels in (
                (stage.champions, stage.champion_labels),
                (stage.challengers, stage.labels),
            )
            for model, label in zip(models, labels, strict=True)
        }
        for stage in stages
    }


def _alone(step: Step) -> Labels:
    """Return the labels that a step's models would have if there were no other step."""
    return _labels([step]).get(0) or {model.version_id: str(model) for model in step.models()}


def _text(step: Step, labels: Labels) -> str:
    names = [labels[model.version_id] for model in step.models()]
    match step:
        case ModelStep():
            return _shadow_text(step, names)
        case MultiModelStep():
            return ", ".join(names)
        case RandomSplit():
            parts = (f"{n} {share_text(s)}" for n, s in zip(names, shares(step), strict=True))
            by = "" if step.hash_key is None else f" [{step.hash_key}]"
            return f"Random Split{by}: {', '.join(parts)}"
        case KeySplit():
            parts = (f"{v!r} {labels[model.version_id]}" for v, model in step.routes.items())
            return f"Key Split [{step.meta_key}]: {', '.join(parts)}, else {names[0]}"
        case Validations():
            return f"Check [{', '.join(step.expressions)}]"
        case Select():
            return f"Select [{step.index}]"
        case Audit():
            return f"Audit [{step.start}:{step.end}]"


def _shadow_text(step: ModelStep, names: Sequence[str]) -> str:
    champion, *challengers = names
    shadows = [
        f"{label} (shadow)" if rate == 1 else f"{label} (shadow, {share_text(rate)})"
        for label, rate in zip(challengers, step.sample, strict=True)
    ]
    joined = step.challengers and step.mode == "joined"
    waits = f" - answers wait up to {step.shadow_wait_ms} ms" if joined else ""
    return ", ".join([champion, *shadows]) + waits
