"""Commands about models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gnomon.cli.common import (
    HomeOption,
    JsonOption,
    TermArgument,
    WorkspaceOption,
    client_of,
    find_model,
    group,
    say,
    workspaces_of,
)
from gnomon.sdk.printing import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gnomon.sdk.catalog import Model

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Its name.")]

models = group("models", "List models, show and search their versions, and delete them.")


@models.command("list")
def list_models(
    workspace: WorkspaceOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """List the models of all workspaces, or of one; 'gnomon models' is the same."""
    found = [
        (where.name(), model)
        for where in workspaces_of(client_of(home), workspace)
        for model in where.models()
    ]
    if as_json:
        print_json([{"workspace": where, **model._view} for where, model in found])
        return
    print_table(
        ("model", "workspace", "versions", "newest", "updated", "by"),
        (
            (
                model.name(),
                where,
                len(model.versions()),
                model.versions()[0].version(),
                f"{model.last_update_time():%Y-%m-%d %H:%M:%S}",
                model.versions()[0].created_by(),
            )
            for where, model in found
        ),
    )


@models.command()
def show(
    model: ModelArgument,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the versions of a model, newest first."""
    _print_versions(find_model(client_of(home), model, workspace).versions(), as_json)


@models.command()
def search(
    text: TermArgument,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search model versions by a part of their name, sha, version, file name or a tag."""
    client = client_of(home)
    found = [
        version
        for where in workspaces_of(client, workspace)
        for version in client.search_models(text, workspace_id=where)
    ]
    _print_versions(found, as_json)


@models.command()
def delete(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or its uuid.")],
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a version that no pipeline uses; 'gnomon gc' removes its file then."""
    client = client_of(home)
    find_model(client, model, workspace)
    found = client.get_model(model, version)
    found.delete()
    text = f"Deleted {found.name()}@{found.ordinal()} ({found.version()})."
    say(text, {"deleted": found._view}, as_json)


def _print_versions(versions: Iterable[Model], as_json: bool) -> None:
    if as_json:
        print_json([version._view for version in versions])
        return
    print_table(
        ("model", "number", "version", "workspace", "file", "sha", "uploaded", "by", "tags"),
        (
            (
                m.name(),
                m.ordinal(),
                m.version(),
                m._view["workspace"],
                m.file_name(),
                m.sha()[:12],
                f"{m.last_update_time():%Y-%m-%d %H:%M:%S}",
                m.created_by(),
                ", ".join(m.tags()),
            )
            for m in versions
        ),
    )
