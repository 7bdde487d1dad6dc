"""Commands about pipelines: their versions, and what is deployed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from gnomon.cli.common import (
    HomeOption,
    JsonOption,
    PipelineArgument,
    TermArgument,
    WorkspaceOption,
    app,
    client_of,
    find_pipeline,
    group,
    say,
    workspaces_of,
)
from gnomon.core.log_settings import USUAL_LOG, Level, LogSettings, WhenFull
from gnomon.sdk.printing import print_json, print_table, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gnomon.sdk.catalog import PipelineVersion

pipelines = group(
    "pipelines", "List pipelines, show, compare and search their versions, and delete them."
)


@pipelines.command("list")
def list_pipelines(
    workspace: WorkspaceOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """List the pipelines of all workspaces, or of one; 'gnomon pipelines' is the same."""
    found = [
        pipeline
        for where in workspaces_of(client_of(home), workspace)
        for pipeline in where.pipelines()
    ]
    if as_json:
        print_json([pipeline._view for pipeline in found])
        return
    print_table(
        ("pipeline", "workspace", "deployed", "updated", "tags", "steps"),
        (
            (
                row["name"],
                pipeline._view["workspace"],
                row["deployed"],
                f"{row['last_updated']:%Y-%m-%d %H:%M:%S}",
                row["tags"],
                row["steps"],
            )
            for pipeline in found
            for row in (pipeline._row(),)
        ),
    )


@pipelines.command()
def show(
    pipeline: PipelineArgument,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the versions of a pipeline, newest first: who made each and when."""
    _print_versions(find_pipeline(client_of(home), pipeline, workspace).versions(), as_json)


@pipelines.command()
def search(
    text: TermArgument,
    deployed: Annotated[
        bool | None, typer.Option("--deployed/--not-deployed", help="Only what callers get.")
    ] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search pipeline versions by a part of the pipeline's name, a tag, or the version."""
    client = client_of(home)
    found = [
        version
        for where in workspaces_of(client, workspace)
        for version in client.search_pipelines(text, deployed, workspace_id=where)
    ]
    _print_versions(found, as_json)


@pipelines.command()
def diff(
    pipeline: PipelineArgument,
    before: Annotated[str, typer.Argument(help="Number or uuid of a version.")],
    after: Annotated[
        str | None, typer.Argument(help="Of another one; without it the newest.")
    ] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was changed from one version of a pipeline to another."""
    found = find_pipeline(client_of(home), pipeline, workspace).diff(before, after)
    if as_json:
        print_json({"removed": found.removed(), "added": found.added()})
        return
    print(printable(found))


@pipelines.command()
def delete(
    pipeline: PipelineArgument,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a pipeline that is not deployed; 'gnomon gc' removes its log then."""
    found = find_pipeline(client_of(home), pipeline, workspace)
    found.delete()
    text = f"Deleted the pipeline {found.name()} with {len(found._view['versions'])} versions."
    say(text, {"deleted": found._view}, as_json)


@app.command()
def deploy(
    pipeline: PipelineArgument,
    version: Annotated[
        str | None,
        typer.Option(help="Number or uuid of an older version; without it the newest steps."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Until it answers, or could not start.")
    ] = True,
    log_level: Annotated[
        Level | None, typer.Option(help="How it is logged; without it as it was.")
    ] = None,
    log_when_full: Annotated[
        WhenFull | None, typer.Option(help="What becomes of what cannot be logged.")
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Not to be logged, as in.card; may be repeated."),
    ] = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy a pipeline as it was last built, or an older version as it was."""
    from gnomon.sdk import deployment

    if version is not None and (log_level or log_when_full or redact):
        raise typer.BadParameter("An older version is logged as it was.")
    found = find_pipeline(client_of(home), pipeline, workspace)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if version is None:
            found.configure_log(log_level, log_when_full, redact or None)
            found.deploy(wait_for_status=wait)
        else:
            found = found.version(version).deploy(wait_for_status=wait)
    view = found._view["deployment"]
    told = [str(warning.message) for warning in caught]
    if as_json:
        print_json({**view, "status": deployment.word(view), "warnings": told})
        return
    print(f"pipeline {found.name()}: {deployment.state(view)}  {view['url']}")
    print(printable(f"  {deployment.shadow_text(view)}"))
    if (log := LogSettings.from_json(view["log"])) != USUAL_LOG:
        print(printable(f"  log: {log.text()}"))
    for text in told:
        print(printable(text))


@app.command()
def undeploy(
    pipeline: PipelineArgument,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a pipeline; its versions and its log stay."""
    found = find_pipeline(client_of(home), pipeline, workspace).undeploy()
    say(f"Pipeline {found.name()} is not deployed.", found._view["deployment"], as_json)


def _print_versions(versions: Iterable[PipelineVersion], as_json: bool) -> None:
    if as_json:
        print_json([version._view for version in versions])
        return
    rows = [version._row() for version in versions]
    print_table(
        ("pipeline", "number", "version", "workspace", "made", "by", "deployed", "tags", "steps"),
        (
            (
                row["name"],
                row["number"],
                row["version"],
                row["workspace_name"],
                row["creation_time"],
                row["created_by"],
                "yes" if row["deployed"] else "",
                row["tags"],
                row["steps"],
            )
            for row in rows
        ),
    )
