"""Commands about workspaces: what there is, and who may use it."""

from __future__ import annotations

from typing import Annotated

import typer

from gnomon.cli.common import HomeOption, JsonOption, client_of, group, say
from gnomon.sdk.printing import print_json, print_table

WorkspaceArgument = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Its name.")]
NamesOption = list[str] | None

workspaces = group(
    "workspaces", "List workspaces, make, archive and delete them, and say who may use them."
)


@workspaces.command("list")
def list_workspaces(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List all workspaces; 'gnomon workspaces' is the same."""
    found = client_of(home).list_workspaces()
    if as_json:
        print_json([workspace._view for workspace in found])
        return
    headings = ("workspace", "made", "users", "models", "pipelines", "state")
    print_table(headings, (tuple(workspace._row().values()) for workspace in found))


@workspaces.command()
def create(
    workspace: WorkspaceArgument, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Make a workspace."""
    made = client_of(home).create_workspace(workspace)
    say(f"Made the workspace {made.name()}.", made._view, as_json)


@workspaces.command()
def archive(
    workspace: WorkspaceArgument, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Let nothing more be added to a workspace or deployed in it; it can be read."""
    found = client_of(home).get_workspace(workspace).archive()
    say(f"Archived the workspace {found.name()}.", found._view, as_json)


@workspaces.command()
def unarchive(
    workspace: WorkspaceArgument, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Bring a workspace back that was archived."""
    found = client_of(home).get_workspace(workspace).unarchive()
    say(f"The workspace {found.name()} is in use again.", found._view, as_json)


@workspaces.command()
def delete(
    workspace: WorkspaceArgument, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Delete an archived workspace with what is in it; 'gnomon gc' removes files and logs then."""
    found = client_of(home).get_workspace(workspace)
    found.delete()
    view = found._view
    models, pipelines = len(view["models"]), len(view["pipelines"])
    text = f"Deleted the workspace {found.name()}. Models in it: {models}. Pipelines: {pipelines}."
    say(text, {"deleted": view}, as_json)


@workspaces.command()
def users(
    workspace: WorkspaceArgument,
    add: Annotated[NamesOption, typer.Option(help="Let somebody use it.")] = None,
    owner: Annotated[NamesOption, typer.Option(help="Let somebody own it.")] = None,
    remove: Annotated[NamesOption, typer.Option(help="Let somebody no longer use it.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who may use a workspace, after what is asked for was done, in this order."""
    found = client_of(home).get_workspace(workspace)
    for change, names in (
        (found.add_user, add),
        (found.add_owner, owner),
        (found.remove_user, remove),
    ):
        for name in names or ():
            change(name)
    members = found.users()
    if as_json:
        print_json([member._view for member in members])
        return
    print_table(
        ("user", "role", "since"),
        (
            (member.name(), member.role(), f"{member.created_at():%Y-%m-%d %H:%M:%S}")
            for member in members
        ),
    )
