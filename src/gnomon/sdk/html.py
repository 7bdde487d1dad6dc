"""What a notebook shows. The run page (`page.py`) is made of the same pieces.

Everything that comes from outside is escaped here, in `cell`, and nowhere else. No script, no
resource from elsewhere, no colour: the text takes the notebook's own, light or dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np

from gnomon.core.tensors import Array, dtype_name
from gnomon.sdk.records import LoggedModel, LoggedRequest, wide

# A display is a page to look at, not an export: what it shows is bounded.
ROWS_SHOWN_MAX = 300
VALUES_SHOWN_MAX = 60_000
VALUES_PER_CELL_MIN = 50
FOLDED_FROM_CHARACTERS = 90
_PREVIEW_VALUES = 3

# Notebooks align table cells to the right; text and folded lists read badly there.
_CELL = ' style="text-align:left;vertical-align:top"'
_NARROW = ' style="text-align:left;vertical-align:top;white-space:nowrap"'
_FULL = 'style="max-height:16em;max-width:60em;overflow:auto;overflow-wrap:anywhere"'


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def cell(value: object) -> str:
    """Return a value as HTML: escaped, unless it is `Html`."""
    return value if isinstance(value, Html) else escape(str(value))


def time_text(moment: datetime) -> str:
    """Return a time as "2022-10-19 17:52:14 UTC"."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def elapsed_text(elapsed_ns: int) -> str:
    """Return a duration in the unit that suits it: "227 µs", "1.24 ms", "3.1 s"."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if elapsed_ns >= size:
            return f"{elapsed_ns / size:.3g} {unit}"
    return f"{elapsed_ns} ns"


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of two columns: names and values."""
    lines = (f"<tr><th>{cell(name)}</th> <td>{cell(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(lines)}</table>"


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, wrap: bool = True
) -> str:
    """Return a table with one row per thing, or "(no things)".

    Args:
        empty: What the things are called.
        wrap: Let long cells break into lines.
    """
    style = _CELL if wrap else _NARROW
    body = [
        "<tr>" + "".join(f"<td{style}>{cell(value)}</td>" for value in row) + "</tr>"
        for row in rows
    ]
    if not body:
        return f"(no {cell(empty)})"
    head = "".join(f"<th{_CELL}>{cell(heading)}</th>" for heading in headings)
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def listing(things: Sequence[Mapping[str, object]], *, empty: str) -> str:
    """Return the table of things that each say their row by heading; see `table`."""
    headings = tuple(things[0]) if things else ()
    return table(headings, (tuple(row.values()) for row in things), empty=empty)


def folded(summary: str, full: str) -> Html:
    """Return `full`, shown when the reader opens it."""
    return Html(
        f'<details><summary style="cursor:pointer;white-space:nowrap">{cell(summary)}</summary>'
        f"<div {_FULL}>{cell(full)}</div></details>"
    )


def values_html(array: Array, values_max: int) -> Html:
    """Return an array as nested lists, folded when long.

    Floats have as many digits as their type needs, so 0.1 in float32 is 0.1.

    Args:
        values_max: How many values are written at all; the rest is counted.
    """
    texts = [_value_text(value) for value in array.ravel()[:values_max]]
    left_out = array.size - len(texts)
    if left_out:
        full = f"{', '.join(texts)}, … and {left_out:,} more values"
    else:
        full = _nested(iter(texts), array.shape)
    if len(full) <= FOLDED_FROM_CHARACTERS:
        return Html(cell(full))
    shape = ", ".join(map(str, array.shape))
    return folded(f"{dtype_name(array)} [{shape}]: {_preview(array)}", full)


def _preview(array: Array) -> str:
    values = array.ravel()[:_PREVIEW_VALUES]
    if array.dtype.kind == "f":
        return ", ".join(f"{value:.4g}" for value in values) + ", …"
    return ", ".join(_value_text(value)[:16] for value in values) + ", …"


def _value_text(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _nested(texts: Iterable[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return next(iter(texts))
    return "[" + ", ".join(_nested(texts, shape[1:]) for _ in range(shape[0])) + "]"


def inputs_html(inputs: Mapping[str, Array], values_max: int) -> Html:
    """Return a request's columns: the values alone if there is one, else each with its name."""
    if len(inputs) == 1:
        return values_html(next(iter(inputs.values())), values_max)
    each = max(VALUES_PER_CELL_MIN, values_max // max(1, len(inputs)))
    lines = (f"{cell(name)}: {values_html(array, each)}" for name, array in inputs.items())
    return Html("<br>".join(lines))


def outputs_html(outputs: Sequence[Array], values_max: int) -> Html:
    """Return outputs as numpy shows them, floats as float64, folded when long."""
    with np.printoptions(threshold=values_max, edgeitems=3):
        full = repr(list(map(wide, outputs)))
    if len(full) <= FOLDED_FROM_CHARACTERS:
        return Html(cell(full))
    shapes = ", ".join(f"[{', '.join(map(str, array.shape))}]" for array in outputs)
    return folded(f"{shapes}: {_preview(outputs[0])}", full)


def outcome_html(model: LoggedModel, values_max: int) -> Html:
    """Return a model's outputs, or why there are none."""
    if model.status == "ok":
        return outputs_html(model.outputs, values_max)
    return status_html(model)


def status_html(model: LoggedModel) -> Html:
    """Return a model's status, with its error."""
    if not model.error:
        return Html(f"<strong>{cell(model.status)}</strong>")
    text = f"<strong>{cell(model.status)}</strong>: {cell(model.error)}"
    return Html(f'<div style="min-width:15em">{text}</div>')


def values_per_cell(cells: int) -> int:
    """Return how many values one of `cells` may show, so that the display stays small."""
    return max(VALUES_PER_CELL_MIN, VALUES_SHOWN_MAX // max(1, cells))


_LOG_HEADINGS = ("Timestamp", "Model", "Output", "Input", "Anomalies")


_FAILED = ' style="color:red"'


def logs(
    shown: Sequence[tuple[LoggedRequest, LoggedModel, int]], entries: int, note: str = ""
) -> str:
    """Return the table of a log, one row per model and request, in the order given.

    Where a model gave no output, that column has its status and error.

    Args:
        shown: The first entries, `ROWS_SHOWN_MAX` at most, each with its number of anomalies.
        entries: How many there are.
        note: A line below the table.
    """
    values_max = values_per_cell(len(shown))
    lines = []
    for request, model, anomalies in shown:
        cells = (
            f"<td{_NARROW}>{time_text(request.time)}</td>",
            f"<td{_NARROW}>{cell(model.label)}</td>",
            f"<td{_CELL}>{outcome_html(model, values_max)}</td>",
            f"<td{_CELL}>{inputs_html(request.inputs, values_max)}</td>",
            f"<td{_CELL}>{anomalies}</td>",
        )
        lines.append(f"<tr{_FAILED if anomalies else ''}>{''.join(cells)}</tr>")
    head = "".join(f"<th{_CELL}>{heading}</th>" for heading in _LOG_HEADINGS)
    if entries > len(shown):
        note = f"The first {len(shown)} of {entries:,} entries; to_pandas() has all. {note}"
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>{_note(note)}"


def shadow_logs(requests: Sequence[LoggedRequest], note: str = "") -> str:
    """Return a shadow log: each request with its input, its champion and its challengers."""
    shown = requests[:ROWS_SHOWN_MAX]
    values_max = values_per_cell(sum(1 + len(request.models) for request in shown))
    body = "".join(_shadow_entry(index, request, values_max) for index, request in enumerate(shown))
    if len(requests) > len(shown):
        note = f"The first {len(shown)} of {len(requests):,} requests. {note}"
    return (
        "<h2>Shadow Deploy Logs</h2>"
        "<p><em>Logs from a shadow pipeline, grouped by their input.</em></p>"
        f"<table><tbody>{body}</tbody></table>{_note(note)}"
    )


_SHADOW_HEADINGS = ("Model Name", "Output", "Timestamp", "Model Version", "Elapsed")


def _shadow_entry(index: int, request: LoggedRequest, values_max: int) -> str:
    head = "".join(f"<td{_CELL}><strong>{name}</strong></td>" for name in _SHADOW_HEADINGS)
    lines = [
        f'<td colspan="6"{_CELL}>Log Entry {index}</td>',
        f'<td colspan="6"{_CELL}>request {cell(request.request_id)}, '
        f"{request.rows} row{'' if request.rows == 1 else 's'}</td>",
        f"<td{_CELL}><strong><em>Input</em></strong></td>"
        f'<td colspan="5"{_CELL}>{inputs_html(request.inputs, values_max)}</td>',
        f"<td{_CELL}>Model Type</td>{head}",
        *(_shadow_model(model, values_max) for model in request.models),
    ]
    return "".join(f"<tr>{line}</tr>" for line in lines)


def _shadow_model(model: LoggedModel, values_max: int) -> str:
    kind = "Primary" if model.role == "champion" else "Challenger"
    ended = model.time is not None
    return (
        f"<td{_NARROW}><strong><em>{kind}</em></strong></td>"
        f"<td{_NARROW}>{cell(model.label)}</td>"
        f"<td{_CELL}>{outcome_html(model, values_max)}</td>"
        f"<td{_NARROW}>{time_text(model.time) if model.time else 'not yet'}</td>"
        f"<td{_CELL}>{cell(model.version)}</td>"
        f"<td{_NARROW}>{elapsed_text(model.elapsed_ns) if ended else 'not yet'}</td>"
    )


def _note(text: str) -> str:
    return f'<p style="opacity:0.75"><em>{cell(text.strip())}</em></p>' if text.strip() else ""
