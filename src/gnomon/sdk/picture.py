"""A pipeline drawn: request, steps with their models, answer and log, from left to right.

Full lines are what an answer is made of, dashes only watch. The drawing has the colours of the
text around it; a page with a style sheet may give it others, by its classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gnomon.core.errors import GnomonError
from gnomon.core.plan import Plan, Stage, plan
from gnomon.core.steps import KeySplit, ModelRef, MultiModelStep, RandomSplit, Step
from gnomon.sdk.bars import share_text
from gnomon.sdk.html import Html, cell
from gnomon.sdk.step_texts import shares

_NAME_CHARACTERS, _ROLE_CHARACTERS = 30, 42
_MARGIN, _ROW, _NODE, _HEAD = 10, 74, 50, 22
_GAP, _W_SMALL, _W_MODEL = 120, 120, 270


@dataclass(frozen=True, slots=True)
class _Node:
    """One model: its name, what it does, and whether answers are made of it."""

    name: str
    role: str
    answers: bool


@dataclass(frozen=True, slots=True)
class _Column:
    """One stage: what is said above it, and its models, those that answer first."""

    title: str
    nodes: tuple[_Node, ...]


def picture(steps: Sequence[Step]) -> Html:
    """Return steps that can be deployed as a drawing of its own size."""
    planned = plan(steps)
    several = len(planned.stages) > 1 or bool(planned.checks)
    columns = [
        _column(steps, planned, stage, titled=several or stage.split is not None)
        for stage in planned.stages
    ]
    return _drawn(columns)


def picture_beside_text(steps: Sequence[Step]) -> Html:
    """Return a drawing of chains and splits; nothing of one step, which a line of text tells."""
    try:
        planned = plan(steps)
    except GnomonError:  # it is being built
        return Html("")
    if len(planned.stages) == 1 and planned.stages[0].split is None:
        return Html("")
    return Html(f'<div style="overflow-x:auto">{picture(steps)}</div>')


# What is drawn


def _column(steps: Sequence[Step], planned: Plan, stage: Stage, *, titled: bool) -> _Column:
    step = steps[stage.step]
    answering = _answering(step, stage, last=stage is planned.stages[-1])
    in_answer = isinstance(step, MultiModelStep) and stage.mode == "joined"
    watching = "answers beside it" if in_answer else "challenger watches"
    nodes = (*answering, *(_Node(label, watching, False) for label in stage.labels))
    return _Column(_title(planned, stage) if titled else "", nodes)


def _answering(step: Step, stage: Stage, *, last: bool) -> list[_Node]:
    match step:
        case RandomSplit():
            roles = [f"answers {share_text(share)}" for share in shares(step)]
        case KeySplit():
            roles = [_values(step, model) for model in stage.champions]
        case _:
            role = "champion answers" if last else "champion, feeds the next step"
            return [_Node(stage.champion_labels[0], role, True)]
    named = zip(stage.champion_labels, roles, strict=True)
    return [_Node(label, role, True) for label, role in named]


def _values(step: KeySplit, model: ModelRef) -> str:
    values = [repr(value) for value, routed in step.routes.items() if routed == model]
    return ", ".join([*values, *(["all else"] if model == step.default else [])])


def _title(planned: Plan, stage: Stage) -> str:
    found = [f"step {stage.step}"]
    if stage.split is not None:
        found.append("by chance" if stage.split.column is None else f"by {stage.split.column}")
    names = [
        name
        for check in planned.checks
        if planned.stages[check.stage] is stage
        for name in check.expressions
    ]
    if names:
        found.append(f"checks {', '.join(names)}")
    return ", ".join(found)


# How it is drawn


def _drawn(columns: Sequence[_Column]) -> Html:
    rows = max(len(column.nodes) for column in columns)
    head = _HEAD if any(column.title for column in columns) else 0
    first = _MARGIN + head + _NODE / 2
    # Of several stages the line to the log passes below all boxes.
    log = first + _ROW * (rows if len(columns) > 1 else max(1, rows - 1))
    right = _MARGIN + _W_SMALL + len(columns) * (_GAP + _W_MODEL) + _GAP
    width, height = right + _W_SMALL + _MARGIN, log + _NODE / 2 + _MARGIN
    parts = [_node(_MARGIN, first, _W_SMALL, _Node("request", "", True), "plain")]
    x, sources = _MARGIN + _W_SMALL, [first]
    for column in columns:
        parts += _arrows_in(x, first, sources, column)
        x += _GAP
        parts += _models(x, first, column)
        x += _W_MODEL
        middles = [(first + _ROW * at, node.answers) for at, node in enumerate(column.nodes)]
        sources = [y for y, answers in middles if answers]
        watched = [y for y, answers in middles if not answers]
        parts += (
            _line("shade", f"M{x} {y} {_bend(x, y, x + _GAP, log)} H{right - 4}") for y in watched
        )
    parts += _arrows_out(x, first, sources, right, log)
    parts += (
        _node(right, first, _W_SMALL, _Node("answer", "", True), "plain"),
        _node(right, log, _W_SMALL, _Node("log", "", True), "plain"),
    )
    return Html(
        f'<svg viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" role="img" '
        f'aria-label="{cell(_described(columns))}" fill="none" stroke="currentColor">'
        f"{''.join(parts)}</svg>"
    )


def _models(x: float, first: float, column: _Column) -> Iterator[str]:
    if column.title:
        yield _text(x + _W_MODEL / 2, first - _NODE / 2 - 8, column.title, "role")
    for at, node in enumerate(column.nodes):
        kind = "champion" if node.answers else "challenger"
        yield _node(x, first + _ROW * at, _W_MODEL, node, kind)


def _arrows_in(x: float, first: float, sources: Sequence[float], column: _Column) -> Iterator[str]:
    """Draw from those who answered before, over one point, to each model of a column."""
    joint, end = x + _GAP / 2, x + _GAP
    for y in sources:
        yield _line("lit", f"M{x} {y} {_bend(x, y, joint, first)}")
    for at, node in enumerate(column.nodes):
        y = first + _ROW * at
        kind = "lit" if node.answers else "shade"
        yield _line(kind, f"M{joint} {first} {_bend(joint, first, end - 4, y)}")
        yield _arrow_head(kind, end, y)


def _arrows_out(
    x: float, first: float, sources: Sequence[float], right: float, log: float
) -> Iterator[str]:
    for y in sources:
        yield _line("lit", f"M{x} {y} {_bend(x, y, x + _GAP / 2, first)}")
    yield _line("lit", f"M{x + _GAP / 2} {first} H{right - 4}")
    yield _arrow_head("lit", right, first)
    yield _line("shade", f"M{x + _GAP / 2} {first} {_bend(x + _GAP / 2, first, right - 4, log)}")
    yield _arrow_head("shade", right, log)


def _bend(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    return f"C{middle} {y1} {middle} {y2} {x2} {y2}"


def _line(kind: str, path: str) -> str:
    dashes = ' stroke-dasharray="4 4" opacity="0.7"' if kind == "shade" else ""
    return f'<path class="{kind}"{dashes} d="{path}"/>'


def _arrow_head(kind: str, x: float, y: float) -> str:
    return f'<path class="{kind} head" d="M{x - 9} {y - 4} L{x - 2} {y} L{x - 9} {y + 4}"/>'


def _node(x: float, middle: float, width: float, node: _Node, kind: str) -> str:
    centre = x + width / 2
    dashes = ' stroke-dasharray="5 4"' if kind == "challenger" else ""
    below = _text(centre, middle + 15, node.role, "role") if node.role else ""
    return (
        f'<g class="{kind}"><title>{cell(node.name)}</title>'
        f'<rect x="{x}" y="{middle - _NODE / 2}" width="{width}" height="{_NODE}" rx="10"'
        f"{dashes}/>{_text(centre, middle + (-3 if node.role else 5), node.name)}{below}</g>"
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    most, size = (_ROLE_CHARACTERS, 11.5) if kind else (_NAME_CHARACTERS, 15)
    short = text if len(text) <= most else text[: most - 1] + "…"
    whole = f"<title>{cell(text)}</title>" if short != text else ""
    named = f' class="{kind}"' if kind else ""
    return (
        f'<text{named} x="{x}" y="{y}" font-size="{size}" text-anchor="middle" stroke="none" '
        f'fill="currentColor">{cell(short)}{whole}</text>'
    )


def _described(columns: Sequence[_Column]) -> str:
    """Return the drawing in words."""
    told = []
    for column in columns:
        answering = " or ".join(node.name for node in column.nodes if node.answers)
        watching = ", ".join(node.name for node in column.nodes if not node.answers) or "nobody"
        told.append(f"{answering} answers requests; {watching} watches.")
    return " Then ".join(told)
