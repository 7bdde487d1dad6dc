"""Commands that watch challengers, and change how they watch."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import typer

from gnomon.cli.common import (
    HomeOption,
    JsonOption,
    PipelineArgument,
    WorkspaceOption,
    app,
    client_of,
    find_pipeline,
)
from gnomon.core import limits
from gnomon.sdk.printing import print_json, print_table, printable


@app.command()
def shadow(
    pipeline: PipelineArgument,
    mode: Annotated[str | None, typer.Option(help="async, or joined: answers wait.")] = None,
    wait_ms: Annotated[
        int | None,
        typer.Option(min=0, max=limits.SHADOW_WAIT_MAX_MS, help="How long, in mode joined."),
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(metavar="[LABEL=]RATE", help="Share of the requests to see, 0 to 1."),
    ] = None,
    off: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Challenger that sees no more.")
    ] = None,
    on: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Challenger that sees again.")
    ] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a running pipeline's challengers watch, or change it without a redeploy."""
    from gnomon.sdk import deployment
    from gnomon.sdk.asking import not_deployed

    found = find_pipeline(client_of(home), pipeline, workspace)
    change: dict[str, Any] = {
        "mode": mode,
        "shadow_wait_ms": wait_ms,
        "sample": _rates(sample or []),
        "on": {**dict.fromkeys(off or (), False), **dict.fromkeys(on or (), True)} or None,
    }
    given = {name: value for name, value in change.items() if value is not None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if given:
            found.change_shadow(**given)
    view = found._view["deployment"]
    if not deployment.is_deployed(view):
        raise not_deployed(pipeline)
    if as_json:
        print_json({"shadow": view["shadow"], "models": view["models"]})
        return
    _print_shadow(view)
    for warning in caught:
        print(printable(warning.message))


def _rates(texts: list[str]) -> float | dict[str, float] | None:
    """Read rates: one for all challengers, or LABEL=RATE of some."""
    pairs = [text.rpartition("=") for text in texts]
    try:
        if len(texts) == 1 and not pairs[0][1]:
            return float(texts[0])
        rates = {label: float(rate) for label, _, rate in pairs}
    except ValueError:
        rates = {"": 0.0}
    if "" in rates:
        raise typer.BadParameter(
            f"--sample takes a rate from 0 to 1, or LABEL=RATE, got {' '.join(texts)[:80]!r}."
        )
    return rates or None


def _print_shadow(view: dict[str, Any]) -> None:
    from gnomon.sdk.bars import share_text

    settings = view["shadow"]
    waits = f", answers wait up to {settings['shadow_wait_ms']} ms"
    how = settings["mode"] + (waits if settings["mode"] == "joined" else "")
    since = settings["changed_at"]
    by = settings["changed_by"]
    told = "as deployed" if since is None else f"changed {since[:19]} UTC by user {by}"
    print(f"pipeline {view['pipeline']}: {how} ({told})")
    challengers = [model for model in view["models"] if model["role"] == "challenger"]
    print_table(
        ("  challenger", "sees", "host"),
        ((f"  {m['label']}", share_text(m["sample"], on=m["on"]), m["state"]) for m in challengers),
    )


@app.command()
def top(
    pipeline: Annotated[
        str | None, typer.Argument(metavar="[PIPELINE]", help="Only this one.")
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="Seconds from one look to the next.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show live how every model fares, until Ctrl-C. With --json once, as one document."""
    from gnomon.sdk import top as page

    transport = client_of(home)._transport
    if once or as_json:
        page.show_once(transport, interval, pipeline, as_json=as_json)
        return
    try:
        page.show(transport, interval, pipeline)
    except KeyboardInterrupt:
        return
