"""Whether the steps of a pipeline fit together, as far as the models' signatures tell.

Said before anything runs, by the rules that requests follow: `binding.resolve` finds the column of
each input, `tensors.conform` gives it its type and shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gnomon.core.binding import resolve
from gnomon.core.errors import InputMismatch, Invalid
from gnomon.core.expressions import parse
from gnomon.core.model import Signature
from gnomon.core.plan import Check, Plan, Stage
from gnomon.core.steps import ModelRef
from gnomon.core.tensors import TensorSpec, can_cast

_NAMED_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """What a model takes and gives, and which columns feed it.

    Attributes:
        tensor_fields: The i-th column feeds the i-th input; None: found by name.
    """

    signature: Signature
    tensor_fields: tuple[str, ...] | None = None


def check_chain(planned: Plan, models: Mapping[int, Fed]) -> None:
    """Refuse a stage that cannot take what the one before gives, and validations of nothing.

    Every champion and every challenger must be fed by every champion of the stage before: any of
    them may answer. What callers send is not known, so the first stage is not looked at.

    Args:
        models: By the id of the model version.

    Raises:
        Invalid: The message names both sides.
    """
    for before, stage in zip(planned.stages, planned.stages[1:], strict=False):
        for giver in before.champions:
            for taker in (*stage.champions, *stage.challengers):
                _check_link(_Link(before, giver, stage, taker), models)
    for check in planned.checks:
        _check_validations(check, planned.stages[check.stage], models)


@dataclass(frozen=True, slots=True)
class _Link:
    """A model, and one that takes what it gives."""

    before: Stage
    giver: ModelRef
    stage: Stage
    taker: ModelRef

    def refused(self, why: str) -> Invalid:
        text = f"Step {self.stage.step} cannot follow step {self.before.step}: {why}"
        return Invalid(
            text,
            step=self.stage.step,
            model=str(self.taker),
            before=self.before.step,
            given_by=str(self.giver),
        )


def _check_link(link: _Link, models: Mapping[int, Fed]) -> None:
    outputs = {spec.name: spec for spec in models[link.giver.version_id].signature.outputs}
    fed = models[link.taker.version_id]
    inputs = fed.signature.inputs
    try:
        columns = resolve(outputs, fed.signature, fed.tensor_fields, model=str(link.taker))
    except InputMismatch:
        wanted = fed.tensor_fields or tuple(spec.name for spec in inputs)
        column, spec = next(
            pair for pair in zip(wanted, inputs, strict=True) if pair[0] not in outputs
        )
        raise link.refused(
            f"{link.taker} feeds its input {spec.name!r} ({spec}) from the column {column!r}, and "
            f"{link.giver} gives {_shown(outputs.values())}. Name the columns that feed its inputs "
            "with configure(tensor_fields=[...])."
        ) from None
    for column, spec in zip(columns, inputs, strict=True):
        if not _can_feed(outputs[column], spec):
            raise link.refused(
                f"{link.taker} takes its input {spec.name!r} as {spec}, and {link.giver} gives the "
                f"column {column!r} as {outputs[column]}."
            )


def _can_feed(given: TensorSpec, taken: TensorSpec) -> bool:
    """Say whether some tensor that is declared so can be made one that is taken."""
    return can_cast(given.dtype, taken.dtype) and any(
        _can_be(shape, taken.shape) for shape in _shapes(given.shape, taken.shape)
    )


def _shapes(
    given: tuple[int | None, ...], taken: tuple[int | None, ...]
) -> Iterator[tuple[int | None, ...]]:
    """Yield the shapes that `tensors.conform` may find in a tensor of the shape `given`."""
    if not given:  # a single value; or nothing was declared
        yield (None,) * len(taken)
    yield given
    if len(given) == 1 and taken[1:] == (1,):
        yield (*given, 1)
    if given[:1] in ((None,), (1,)) and taken[:1] != (None,):
        yield given[1:]


def _can_be(given: tuple[int | None, ...], taken: tuple[int | None, ...]) -> bool:
    return len(given) == len(taken) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(given, taken, strict=True)
    )


def _check_validations(check: Check, stage: Stage, models: Mapping[int, Fed]) -> None:
    for name, tree in check.expressions.items():
        expression = parse(tree, name)
        columns = [column.partition(".") for column in expression.columns]
        asked = {field for group, _, field in columns if group == "out"}
        for champion in stage.champions:
            outputs = models[champion.version_id].signature.outputs
            missing = asked - {spec.name for spec in outputs}
            if missing:
                raise Invalid(
                    f"The validation {name!r} asks for 'out.{min(missing)[:80]}'; {champion} of "
                    f"step {stage.step} gives {_shown(outputs)}.",
                    validation=name,
                    step=stage.step,
                    model=str(champion),
                )
            expression.check_outputs(outputs)


def _shown(specs: Iterable[TensorSpec]) -> str:
    texts = [f"{spec.name[:80]!r} ({spec})" for spec in specs]
    more = len(texts) - _NAMED_MAX
    return ", ".join(texts[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "") or "nothing"
