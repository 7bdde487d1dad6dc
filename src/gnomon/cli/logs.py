"""Commands that read a pipeline's log."""

from __future__ import annotations

import time
import warnings
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from gnomon.sdk.printing import print_json, table_lines

if TYPE_CHECKING:
    from gnomon.sdk.logs import LogEntry
    from gnomon.sdk.records import Following

_SHOW = "show"
_HEADINGS = ("time", "request", "model", "status", "elapsed", "output")

SinceOption = Annotated[
    str | None, typer.Option(help="Requests of then or later, as 2026-11-23T08:00:00+01:00.")
]
UntilOption = Annotated[str | None, typer.Option(help="Requests from before then.")]
ModelOption = Annotated[str | None, typer.Option(help="A champion's name or challenger's label.")]
StatusOption = Annotated[str | None, typer.Option(help="ok, error, timeout, dropped, ...")]
RequestOption = Annotated[str | None, typer.Option(help="One request.")]
DisagreeOption = Annotated[
    str | None, typer.Option(help="Where this challenger, or any ('*'), disagrees.")
]
ValidOption = Annotated[
    bool | None,
    typer.Option(
        "--valid/--not-valid",
        help="Only rows in which no validation found an anomaly, or only those in which one did.",
        show_default=False,
    ),
]
WhereOption = Annotated[
    str | None, typer.Option(help="""A condition, as '"out.dense_1"[1] > 0.5'.""")
]


class _Logs(typer.core.TyperGroup):
    """`gnomon logs PIPELINE` is `gnomon logs show PIPELINE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = [_SHOW, *args]
        return super().parse_args(ctx, args)


logs = typer.Typer(
    cls=_Logs,
    help="Show a pipeline's log, or export it. 'logs PIPELINE' is 'logs show PIPELINE'.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(logs, name="logs")


@logs.command(_SHOW)
def show(
    pipeline: PipelineArgument,
    limit: Annotated[int, typer.Option(min=1, help="How many requests.")] = limits.LOGS_DEFAULT,
    since: SinceOption = None,
    until: UntilOption = None,
    model: ModelOption = None,
    status: StatusOption = None,
    request_id: RequestOption = None,
    where: WhereOption = None,
    disagree: DisagreeOption = None,
    valid: ValidOption = None,
    follow: Annotated[bool, typer.Option(help="Go on with what is logged from now on.")] = False,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show requests, newest first, one line per model; with --follow the oldest come first."""
    found = find_pipeline(client_of(home), pipeline, workspace)
    conditions: dict[str, Any] = {
        "model": model,
        "status": status,
        "request_id": request_id,
        "where": where,
        "disagree": disagree,
        "valid": valid,
    }
    # What is missing is told; that there is more is said below.
    warnings.filterwarnings("ignore", message="There are more logs")
    following = found._following(**conditions) if follow else None
    entries = found.logs(limit, start_datetime=since, end_datetime=until, **conditions)
    if following is not None:
        _print(entries[::-1], as_json, headings=True)
        known = {following.newest, *(entry.request_id for entry in entries)}
        _follow(following, known, model, status, as_json)
    elif as_json:
        print_json([entry.raw for entry in entries])
    else:
        _print(entries, as_json, headings=True)
        if entries.more:
            print("There are older requests: --limit shows more.")


def _follow(
    following: Following,
    known: Container[str | None],
    model: str | None,
    status: str | None,
    as_json: bool,
) -> None:
    """Print what is logged from now on, until interrupted."""
    from gnomon.sdk.logs import LogEntries

    while True:
        time.sleep(limits.LOG_FOLLOW_S)
        for page in following.pages():
            entries = LogEntries.of(page, model=model, status=status, oldest_first=True)
            _print([entry for entry in entries if entry.request_id not in known], as_json)


def _print(entries: Iterable[LogEntry], as_json: bool, *, headings: bool = False) -> None:
    if as_json:
        for entry in entries:
            print_json(entry.raw, indent=None)
        return
    lines = table_lines(_HEADINGS, [_log_line(entry) for entry in entries])
    for line in lines if headings else lines[1:]:
        print(line, flush=True)


def _log_line(entry: LogEntry) -> list[object]:
    from gnomon.sdk.html import elapsed_text, time_text

    shown = " ".join(repr(entry.output).split()) if entry.status == "ok" else entry.error or ""
    short = shown if len(shown) <= 80 else f"{shown[:77]}..."
    elapsed = elapsed_text(entry.elapsed)
    return [
        time_text(entry.timestamp), entry.request_id, entry.label, entry.status, elapsed, short
    ]  # fmt: skip


@logs.command()
def export(
    pipeline: PipelineArgument,
    directory: Annotated[Path, typer.Argument(help="Made if it is missing.")] = Path("logs"),
    format: Annotated[str, typer.Option(help="json, csv, arrow or parquet.")] = "json",
    prefix: Annotated[str | None, typer.Option(help="Of the files' names.")] = None,
    size_limit: Annotated[str | None, typer.Option(help="Of all files, as 100MiB.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many requests.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    model: ModelOption = None,
    status: StatusOption = None,
    request_id: RequestOption = None,
    where: WhereOption = None,
    disagree: DisagreeOption = None,
    valid: ValidOption = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write requests to files, one row per input row."""
    found = find_pipeline(client_of(home, interactive=not as_json), pipeline, workspace)
    files = found.export_logs(
        directory,
        prefix,
        size_limit,
        limit,
        since,
        until,
        format=format,
        model=model,
        status=status,
        request_id=request_id,
        where=where,
        disagree=disagree,
        valid=valid,
    )
    if as_json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        print(file)
    if not files:
        print("There are no such requests.")
