"""Commands about tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gnomon.cli.common import HomeOption, JsonOption, client_of, group, say, workspaces_of
from gnomon.core.errors import NotFound
from gnomon.sdk.printing import print_json, print_table

if TYPE_CHECKING:
    from gnomon.sdk.client import Client
    from gnomon.sdk.tags import Tag

TextArgument = Annotated[str, typer.Argument(metavar="TAG", help="Its text.")]
ModelsOption = Annotated[
    list[str] | None, typer.Option("--model", metavar="NAME[@NUMBER]", help="A model version.")
]
PipelinesOption = Annotated[
    list[str] | None, typer.Option("--pipeline", metavar="NAME", help="A pipeline.")
]
TagsWorkspaceOption = Annotated[
    str | None, typer.Option("--workspace", help="By default the user's own.")
]

tags = group("tags", "List tags, and put them on models and pipelines.")


@tags.command("list")
def list_tags(
    workspace: TagsWorkspaceOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """List the tags of a workspace with what has them; 'gnomon tags' is the same."""
    found = _client(home, workspace).list_tags()
    if as_json:
        print_json([tag._view for tag in found])
        return
    print_table(
        ("tag", "models", "pipelines"),
        (
            (
                tag.tag(),
                ", ".join(f"{m['name']}@{m['ordinal']}" for m in tag._view["models"]),
                ", ".join(pipeline["name"] for pipeline in tag._view["pipelines"]),
            )
            for tag in found
        ),
    )


@tags.command()
def add(
    tag: TextArgument,
    models: ModelsOption = None,
    pipelines: PipelinesOption = None,
    workspace: TagsWorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a tag if there is none of this text, and put it on models and pipelines."""
    client = _client(home, workspace)
    tagged = _found(client, models, pipelines)  # before anything is changed
    made = client.create_tag(tag)
    for model_id in tagged[0]:
        made.add_to_model(model_id)
    for pipeline_id in tagged[1]:
        made.add_to_pipeline(pipeline_id)
    _print(made, as_json)


@tags.command()
def remove(
    tag: TextArgument,
    models: ModelsOption = None,
    pipelines: PipelinesOption = None,
    workspace: TagsWorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a tag off models and pipelines."""
    client = _client(home, workspace)
    known = _known(client, tag)
    if not models and not pipelines:
        raise typer.BadParameter("Say with --model and --pipeline what it is to be taken off.")
    model_ids, pipeline_ids = _found(client, models, pipelines)
    for model_id in model_ids:
        known.remove_from_model(model_id)
    for pipeline_id in pipeline_ids:
        known.remove_from_pipeline(pipeline_id)
    _print(known, as_json)


@tags.command()
def delete(
    tag: TextArgument,
    workspace: TagsWorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a tag, from whatever has it."""
    known = _known(_client(home, workspace), tag)
    known.delete()
    say(f"Deleted the tag {known.tag()!r}.", {"deleted": known._view}, as_json)


def _client(home: HomeOption, workspace: str | None) -> Client:
    client = client_of(home)
    if workspace is not None:
        client.set_current_workspace(*workspaces_of(client, workspace))
    return client


def _known(client: Client, text: str) -> Tag:
    for tag in client.list_tags():
        if tag.tag() == text:
            return tag
    workspace = client.get_current_workspace().name()
    raise NotFound(f"There is no tag {text[:80]!r} in the workspace {workspace!r}.")


def _found(
    client: Client, models: list[str] | None, pipelines: list[str] | None
) -> tuple[list[int], list[int]]:
    """Return the ids of the model versions and pipelines of these names."""
    named = [name.partition("@") for name in models or ()]
    versions = [client.get_model(name, number or None) for name, _, number in named]
    found = [client.get_pipeline(name) for name in pipelines or ()]
    return [version.id() for version in versions], [pipeline.id() for pipeline in found]


def _print(tag: Tag, as_json: bool) -> None:
    models = [f"{m['name']}@{m['ordinal']}" for m in tag._view["models"]]
    on = ", ".join([*models, *(pipeline["name"] for pipeline in tag._view["pipelines"])])
    say(f"The tag {tag.tag()!r} is on {on or 'nothing'}.", tag._view, as_json)
