"""Routes of tags."""

from __future__ import annotations

from fastapi import Response

from gnomon.api.bodies import TagText
from gnomon.api.calls import Caller, TaggedId, TagId, Tags, WorkspaceId
from gnomon.api.catalog_views import TagsView, TagView
from gnomon.api.guards import guarded_router, needs
from gnomon.core.access import Right

router = guarded_router("/v1/workspaces/{workspace}/tags")


@router.get("")
@needs(Right.READ)
def list_tags(workspace: WorkspaceId, call: Caller, tags: Tags) -> TagsView:
    """Return the workspace's tags, oldest first, with what has them."""
    return TagsView(tags=[TagView.of(tag) for tag in tags.all(call, workspace)])


@router.post("", status_code=201, responses={200: {"model": TagView}})
@needs(Right.WRITE)
def add_tag(
    workspace: WorkspaceId, wanted: TagText, call: Caller, tags: Tags, answer: Response
) -> TagView:
    """Make a tag; 200 if there is one of this text."""
    found, is_new = tags.add(call, workspace, wanted.tag)
    answer.status_code = 201 if is_new else 200
    return TagView.of(found)


@router.delete("/{tag}", status_code=204)
@needs(Right.WRITE)
def delete_tag(workspace: WorkspaceId, tag: TagId, call: Caller, tags: Tags) -> None:
    """Remove a tag, from whatever has it."""
    tags.delete(call, workspace, tag)


@router.put("/{tag}/models/{tagged}")
@needs(Right.WRITE)
def tag_model(
    workspace: WorkspaceId, tag: TagId, tagged: TaggedId, call: Caller, tags: Tags
) -> TagView:
    """Let a model version, by its id, have the tag."""
    return TagView.of(tags.set_on_model(call, workspace, tag, tagged, True))


@router.delete("/{tag}/models/{tagged}")
@needs(Right.WRITE)
def untag_model(
    workspace: WorkspaceId, tag: TagId, tagged: TaggedId, call: Caller, tags: Tags
) -> TagView:
    """Let a model version, by its id, have the tag no more."""
    return TagView.of(tags.set_on_model(call, workspace, tag, tagged, False))


@router.put("/{tag}/pipelines/{tagged}")
@needs(Right.WRITE)
def tag_pipeline(
    workspace: WorkspaceId, tag: TagId, tagged: TaggedId, call: Caller, tags: Tags
) -> TagView:
    """Let a pipeline, by its id, have the tag."""
    return TagView.of(tags.set_on_pipeline(call, workspace, tag, tagged, True))


@router.delete("/{tag}/pipelines/{tagged}")
@needs(Right.WRITE)
def untag_pipeline(
    workspace: WorkspaceId, tag: TagId, tagged: TaggedId, call: Caller, tags: Tags
) -> TagView:
    """Let a pipeline, by its id, have the tag no more."""
    return TagView.of(tags.set_on_pipeline(call, workspace, tag, tagged, False))
