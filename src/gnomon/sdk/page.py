"""The page of a run: one HTML file, complete in itself, of what a pipeline did.

The pipeline drawn with all its models, each request with what every model said and how long it
took, and the shadow log as a notebook shows it. No script and nothing from elsewhere; light and
dark as the reader's system is. It holds no token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from string import Template

from gnomon.core.plan import plan
from gnomon.core.steps import Step
from gnomon.sdk import html
from gnomon.sdk.html import Html, cell
from gnomon.sdk.picture import picture
from gnomon.sdk.records import LoggedModel, LoggedRequest
from gnomon.sdk.style import STYLE

_ROWS_COMPARED_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a page is made of.

    Attributes:
        pipeline: Its name.
        facts: Names and values shown beside the picture.
        steps: What is deployed.
        url: Where inferences are posted.
        command: How to ask it from a shell; without the token itself.
        requests: Newest first, as the log has them.
        made_at: Aware.
        version: Of gnomon.
    """

    pipeline: str
    facts: Sequence[tuple[str, object]]
    steps: Sequence[Step]
    url: str
    command: str
    requests: Sequence[LoggedRequest]
    made_at: datetime
    version: str


def render(run: Run) -> str:
    """Return the page of a run."""
    oldest_first = list(run.requests)[::-1]
    values_max = html.values_per_cell(sum(2 + len(request.models) for request in oldest_first))
    answers = "".join(
        _request(number, request, values_max) for number, request in enumerate(oldest_first, 1)
    )
    return _PAGE.substitute(
        title=cell(f"{run.pipeline} in shadow"),
        style=STYLE,
        pipeline=cell(run.pipeline),
        summary=cell(_summary(run)),
        picture=picture(run.steps),
        facts=html.facts(run.facts),
        url=cell(run.url),
        command=cell(run.command),
        answers=answers,
        shadow_log=html.shadow_logs(run.requests),
        made_at=html.time_text(run.made_at),
        version=cell(run.version),
    )


def _summary(run: Run) -> str:
    stages = plan(run.steps).stages
    answering = " then ".join(
        " or ".join(model.name for model in stage.champions) for stage in stages
    )
    count = sum(len(stage.challengers) for stage in stages)
    challengers = "1 challenger watches" if count == 1 else f"{count} challengers watch"
    requests = "1 request" if len(run.requests) == 1 else f"{len(run.requests)} requests"
    return f"{answering} answers, {challengers}; {requests} in this run."


# One request: what each model said, how long it took, and row by row where that can be compared.


def _request(number: int, request: LoggedRequest, values_max: int) -> str:
    slowest_ns = max((model.elapsed_ns for model in request.models), default=0)
    models = "".join(_model(model, slowest_ns, values_max) for model in request.models)
    rows = "1 row" if request.rows == 1 else f"{request.rows} rows"
    return (
        '<article class="card">'
        f"<h3>Request {number} <small>{rows}, {html.time_text(request.time)}</small></h3>"
        f'<p class="id">{cell(request.request_id)}</p>'
        f'<div class="input"><span>Input</span> {html.inputs_html(request.inputs, values_max)}'
        '</div><table class="models"><thead><tr><th>Model</th><th>Output</th>'
        f"<th>Status</th><th>Elapsed</th></tr></thead><tbody>{models}</tbody></table>"
        f"{_row_by_row(request)}</article>"
    )


def _model(model: LoggedModel, slowest_ns: int, values_max: int) -> str:
    share = 100 * model.elapsed_ns / slowest_ns if slowest_ns else 0
    good = {"ok": "good", "pending": "open"}.get(model.status, "bad")
    elapsed = html.elapsed_text(model.elapsed_ns) if model.time is not None else "not yet"
    output = (
        html.outputs_html(model.outputs, values_max)
        if model.status == "ok"
        else Html(cell(model.error or "no output"))
    )
    return (
        f'<tr class="{cell(model.role)}"><td>{cell(model.label)}'
        f"<small>{cell(model.role)}, version {model.ordinal}</small></td>"
        f'<td class="output">{output}</td>'
        f'<td><span class="status {good}">{cell(model.status)}</span></td>'
        f'<td class="elapsed"><span class="bar"><i style="width:{share:.1f}%"></i></span>'
        f"<span>{elapsed}</span></td></tr>"
    )


def _row_by_row(request: LoggedRequest) -> str:
    """Return one line per input row, if every model that was done gave one number per row."""
    done = [model for model in request.models if model.status == "ok"]
    numbers = all(
        len(model.outputs) == 1
        and model.outputs[0].size == request.rows
        and model.outputs[0].dtype.kind in "fiu"
        for model in done
    )
    if request.rows < 2 or not done or not numbers:
        return ""
    columns = [model.outputs[0].ravel().tolist()[:_ROWS_COMPARED_MAX] for model in done]
    head = "".join(
        f'<th class="number {cell(model.role)}">{cell(model.label)}</th>' for model in done
    )
    lines = "".join(
        f"<tr><td>{index}</td>"
        + "".join(f'<td class="number">{value:.6g}</td>' for value in line)
        + "</tr>"
        for index, line in enumerate(zip(*columns, strict=True), 1)
    )
    more = request.rows - len(columns[0])
    note = f"<p><small>and {more:,} more rows</small></p>" if more else ""
    return (
        '<details class="rows" open><summary>Row by row</summary><table><thead><tr><th>Row</th>'
        f"{head}</tr></thead><tbody>{lines}</tbody></table>{note}</details>"
    )


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<p class="brand">gnomon</p>
<h1>$pipeline</h1>
<p class="lead">$summary</p>
</header>
<main>
<section><h2>Pipeline</h2><div class="card picture">$picture</div>
<div class="card facts">$facts
<p>Ask it, while its server runs:</p><pre>$command</pre></div></section>
<section><h2>Answers</h2>
<p class="lead">Each request as every model saw it. The champion's output is the answer, the
challengers only watched; the bars compare how long each model ran.</p>$answers</section>
<section class="shadow-log">$shadow_log</section>
</main>
<footer>Made by gnomon $version on $made_at. Inference at $url</footer>
</body>
</html>
""")
