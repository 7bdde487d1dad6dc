"""Which column feeds which input: one rule for champion, challengers and all formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from gnomon.core.errors import InputMismatch
from gnomon.core.model import Signature
from gnomon.core.tensors import Array, conform

TENSOR = "tensor"
_COMPARED_MAX = 100
_COMPARED_CHARS_MAX = 80


def resolve(
    columns: Iterable[str],
    signature: Signature,
    tensor_fields: tuple[str, ...] | None,
    *,
    model: str,
) -> tuple[str, ...]:
    """Name the column that feeds each graph input, in the order of the inputs.

    In this order, and nothing else is guessed: the model's `tensor_fields`; every input found by
    its own name; for a model with one input the column `tensor`, or the request's only column.

    Args:
        columns: The request's column names.
        model: "name@ordinal", for messages.

    Raises:
        InputMismatch: An input has no column; the message names the nearest one.
    """
    present = list(columns)
    wanted = tensor_fields or tuple(spec.name for spec in signature.inputs)
    if all(name in present for name in wanted):
        return wanted
    if tensor_fields is None and len(signature.inputs) == 1:
        if TENSOR in present:
            return (TENSOR,)
        if len(present) == 1:
            return (present[0],)
    missing = next(name for name in wanted if name not in present)
    shown = ", ".join(repr(name[:80]) for name in present[:10]) or "none"
    near = nearest(missing, [name for name in present if name not in wanted])
    hint = f" Did you mean {near[:80]!r}?" if near is not None else ""
    raise InputMismatch(
        f"{model}: input {missing!r} is missing; the request has the columns {shown}.{hint}",
        model=model,
        column=missing,
        found=present[:10],
    )


def nearest(name: str, candidates: Sequence[str]) -> str | None:
    """Return the candidate that looks most like `name`, whatever its case; None if there is none.

    Only the first of many are looked at, and the beginnings of long ones.
    """
    by_lower = {
        candidate[:_COMPARED_CHARS_MAX].lower(): candidate
        for candidate in candidates[:_COMPARED_MAX]
    }
    near = get_close_matches(name[:_COMPARED_CHARS_MAX].lower(), by_lower, n=1, cutoff=0.0)
    return by_lower[near[0]] if near else None


def takes_rows(signature: Signature) -> bool:
    """Say whether a model takes any number of rows: the first axis of an input is left open."""
    return any(spec.shape and spec.shape[0] is None for spec in signature.inputs)


def bind(
    columns: Mapping[str, Array], signature: Signature, fields: tuple[str, ...], *, model: str
) -> tuple[Array, ...]:
    """Give each graph input its array, of the declared type and shape.

    Args:
        columns: The request's columns, first axis is the row.
        fields: What `resolve` returned.
        model: "name@ordinal", for messages.

    Raises:
        InputMismatch: A type or shape does not fit, or the inputs' row counts differ.
    """
    bound = tuple(
        conform(columns[field], spec, name=field, model=model)
        for field, spec in zip(fields, signature.inputs, strict=True)
    )
    rows = {
        len(array)
        for array, spec in zip(bound, signature.inputs, strict=True)
        if spec.shape and spec.shape[0] is None
    }
    if len(rows) > 1:
        raise InputMismatch(
            f"{model}: the inputs must have the same number of rows, got {sorted(rows)}.",
            model=model,
            found=sorted(rows),
        )
    return bound


def refuse_unknown(columns: Iterable[str], used: Iterable[str], *, model: str) -> None:
    """Refuse columns that feed nothing; only the plain-tensor format is that strict.

    Raises:
        InputMismatch: A column feeds no input of the champion.
    """
    known = set(used)
    for name in columns:
        if name not in known:
            takes = ", ".join(repr(field) for field in sorted(known))
            raise InputMismatch(
                f"{model}: nothing takes the input {name[:80]!r}; it takes {takes}.",
                model=model,
                column=name[:80],
                expected=sorted(known),
            )
