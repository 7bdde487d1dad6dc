"""What the commands share: their options, exit codes, and how they find server and pipeline."""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gnomon.core.errors import GnomonError, Invalid, NotFound, ServerUnreachable
from gnomon.core.names import name_key
from gnomon.sdk.printing import print_json, printable
from gnomon.settings import Home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnomon.sdk.catalog import ModelFamily, Pipeline, Workspace
    from gnomon.sdk.client import Client

Found = TypeVar("Found")


class Exit(IntEnum):
    """What the exit codes mean."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    NO_SERVER = 3
    INTERRUPTED = 130


app = typer.Typer(
    name="gnomon",
    help="Shadow-tests ML models: the champion answers, challengers only watch.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Data directory; by default $GNOMON_HOME or the user's own."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
WorkspaceOption = Annotated[
    str | None, typer.Option(help="Its workspace; needed if the name is in several.")
]
PipelineArgument = Annotated[str, typer.Argument(metavar="PIPELINE", help="Its name.")]
TermArgument = Annotated[str, typer.Argument(metavar="TEXT", help="Part of what is looked for.")]


class Listing(typer.core.TyperGroup):
    """A group of commands of which `list` is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before options that stand alone."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def group(name: str, help: str) -> typer.Typer:
    """Add a group of commands of which `list` is meant where none is named."""
    made = typer.Typer(cls=Listing, help=help, rich_markup_mode=None)
    app.add_typer(made, name=name)
    return made


def say(text: str, document: Any, as_json: bool) -> None:
    """Say what a command did: in a line, or with --json as a document."""
    if as_json:
        print_json(document)
    else:
        print(text)


def tell(error: GnomonError, as_json: bool, code: Exit | None = None) -> Exit:
    """Tell an error on stderr and return the exit code: `code`, or the error's own."""
    if as_json:
        document = {
            "error_code": error.code,
            "error": error.message,
            "request_id": error.request_id,
            "details": error.details,
        }
        print(json.dumps(document, default=str), file=sys.stderr)
    else:
        print(printable(f"gnomon: {error.message}"), file=sys.stderr)
    if code is not None:
        return code
    return Exit.NO_SERVER if isinstance(error, ServerUnreachable) else Exit.FAILED


def home_of(given: Path | None) -> Home:
    """Return the data directory that was asked for, or the usual one."""
    return Home() if given is None else Home(given.expanduser().absolute())


def client_of(home: Path | None, *, interactive: bool = False) -> Client:
    """Return a client of the server that runs; the command line never starts one by the way."""
    from gnomon.sdk.client import Client

    return Client(home=home, start=False, interactive=interactive)


def workspaces_of(client: Client, name: str | None) -> Sequence[Workspace]:
    """Return the workspace of that name; all of them if there is no name."""
    return client.list_workspaces() if name is None else [client.get_workspace(name)]


def find_pipeline(client: Client, name: str, workspace: str | None) -> Pipeline:
    """Find a pipeline by its name, in one workspace or in all; it becomes the current one."""
    found = [
        (where, pipeline)
        for where in workspaces_of(client, workspace)
        for pipeline in where.pipelines()
        if pipeline.name() == name
    ]
    return _the_only("pipeline", client, name, found)


def find_model(client: Client, name: str, workspace: str | None) -> ModelFamily:
    """Find a model by its name, whatever its case, in one workspace or in all."""
    found = [
        (where, model)
        for where in workspaces_of(client, workspace)
        for model in where.models()
        if name_key(model.name()) == name_key(name)
    ]
    return _the_only("model", client, name, found)


def _the_only(
    kind: str, client: Client, name: str, found: Sequence[tuple[Workspace, Found]]
) -> Found:
    if not found:
        raise NotFound(f"There is no {kind} {name[:80]!r}; 'gnomon status' shows what there is.")
    if len(found) > 1:
        homes = ", ".join(sorted(where.name() for where, _ in found))
        raise Invalid(
            f"{kind.capitalize()} {name!r} is in the workspaces {homes}: choose with --workspace."
        )
    client.set_current_workspace(found[0][0])
    return found[0][1]
