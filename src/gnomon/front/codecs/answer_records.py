"""Records: one JSON object for each row, groups of columns as objects in it or with flat names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import orjson

from gnomon.core.inference import Observation
from gnomon.core.routing import ServedModel
from gnomon.core.tensors import Array
from gnomon.front.codecs import non_finite
from gnomon.front.codecs.result import Answer, Result, anomalies, row_outputs
from gnomon.front.codecs.table import Constant, Input, Inputs, columns

Cells = Sequence[Any] | Constant
Part = tuple[tuple[str, ...], Cells]  # name in parts, values
Odd = list[tuple[str, Array]]  # outputs that JSON cannot say all of, by name


def answer(result: Result, rows: int, inputs: Inputs) -> Answer:
    """Return one object per row; float32 in its own shortest text.

    A row whose outputs have NaN or an infinity, which are null, says which under "non_finite".
    """
    wanted, objects = result.wanted, inputs.objects()
    odd: Odd = []
    if objects is not None and wanted.is_whole and not wanted.dataset_separator:
        table: Sequence[Any] = _usual(result, rows, objects, odd)
    else:
        table = _chosen(result, rows, inputs, odd)
    for name, array in odd:
        for row, cell in zip(table, array, strict=True):
            if not non_finite.is_finite(cell):
                row.setdefault("non_finite", {})[name] = non_finite.words(cell)
    body = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)
    return Answer(body, result.challengers_header())


def _usual(result: Result, rows: int, objects: Sequence[Any], odd: Odd) -> list[dict[str, Any]]:
    """Return what `_chosen` does where nothing was chosen: the rows of the request as they are."""
    groups: dict[str, Iterable[Any]] = {"time": repeat(result.time_ms), "in": objects}
    groups["out"] = _outputs("out", result.champion.model, result.champion, rows, odd)
    groups["anomaly"] = _anomalies(result.champion, rows)
    for model, observation in result.by_label():
        group = f"out_{model.label}"
        groups[group] = _outputs(group, model, observation, rows, odd)
    return [dict(zip(groups, row, strict=True)) for row in zip(*groups.values(), strict=False)]


def _anomalies(champion: Observation, rows: int) -> Iterable[dict[str, Any]]:
    if not champion.anomalies:
        return repeat({"count": 0})
    found = anomalies(champion, rows)
    values = zip(*(array.tolist() for array in found.values()), strict=True)
    return [dict(zip(found, row, strict=True)) for row in values]


def _outputs(
    group: str,
    model: ServedModel,
    observation: Observation | None,
    rows: int,
    odd: Odd,
) -> Iterable[dict[str, Any]]:
    names = [spec.name for spec in model.signature.outputs]
    arrays = None if observation is None else row_outputs(observation, rows)
    if arrays is None:
        return repeat(dict.fromkeys(names))
    columns = [
        _noted(f"{group}.{name}", array, odd) for name, array in zip(names, arrays, strict=True)
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _chosen(result: Result, rows: int, inputs: Inputs, odd: Odd) -> Sequence[Any]:
    separator = result.wanted.dataset_separator
    parts: list[Part] = []
    for path, content in columns(result, rows, inputs):
        found: Cells
        if isinstance(content, Constant):
            found = content
        elif isinstance(content, Input):
            found = inputs.cells(content.name)
        elif content.array is None:
            found = Constant(None, content.dtype)
        else:
            found = _noted(".".join(path), content.array, odd)
        parts.append(((separator.join(path),) if separator else path, found))
    table = _objects(parts)
    return [table.value] * rows if isinstance(table, Constant) else table


def _noted(name: str, array: Array, odd: Odd) -> Sequence[Any]:
    """Return the cells of an output; note it among the odd if JSON cannot say all of them."""
    if not non_finite.is_finite(array):
        odd.append((name, array))
    return cells(array)


def _objects(parts: list[Part]) -> Cells:
    """Return one object per row, made of the cells of columns by the parts of their names."""
    groups: dict[str, list[Part]] = {}
    for path, found in parts:
        groups.setdefault(path[0], []).append((path[1:], found))
    members = {
        name: _objects(group) if group[0][0] else group[0][1] for name, group in groups.items()
    }
    same = {name: each.value for name, each in members.items() if isinstance(each, Constant)}
    if len(same) == len(members):
        return Constant(same, "object")
    values = [
        repeat(each.value) if isinstance(each, Constant) else each for _, each in members.items()
    ]
    return [dict(zip(members, row, strict=True)) for row in zip(*values, strict=False)]


def cells(array: Array) -> Sequence[Any]:
    """Return what stands in each row of an array, for orjson with OPT_SERIALIZE_NUMPY."""
    if array.dtype.kind == "O":
        texts: list[Any] = array.tolist()
        return texts
    array = np.ascontiguousarray(array)  # orjson takes no others
    if array[:1].size > non_finite.PLAIN_ELEMENTS_MAX:
        return list(array)
    # Through its text: of float32 the shortest, not the digits of the float64 beside it.
    found: list[Any] = orjson.loads(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
    return found
