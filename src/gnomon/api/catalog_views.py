"""What the API answers with about versions, tags, users, and what was deleted."""

from __future__ import annotations

from typing import Any

from gnomon.api.views import Time, View
from gnomon.stores import records
from gnomon.stores.records import MemberRole


class PipelineVersionView(View):
    """A pipeline version; see `stores.records.PipelineVersionRecord`.

    `tensor_fields` has the columns that feed each of its model versions, by their ids.
    """

    id: int
    uuid: str
    number: int
    pipeline_id: int
    pipeline: str
    workspace_id: int
    workspace: str
    definition: dict[str, Any]
    tensor_fields: dict[str, list[str] | None]
    restores: str | None
    deployed: bool
    tags: list[str]
    created_at: Time
    created_by: int
    author: str
    updated_at: Time

    @classmethod
    def of(cls, found: records.PipelineVersionRecord) -> PipelineVersionView:
        """Return the view of a version."""
        version = found.version
        return cls(
            id=version.id,
            uuid=version.uuid,
            number=found.number,
            pipeline_id=found.pipeline_id,
            pipeline=found.pipeline,
            workspace_id=found.workspace_id,
            workspace=found.workspace,
            definition=version.definition.to_json(),
            tensor_fields={
                str(key): None if fields is None else list(fields)
                for key, fields in version.tensor_fields.items()
            },
            restores=found.restores,
            deployed=found.deployed,
            tags=list(found.tags),
            created_at=found.created_at,
            created_by=found.created_by,
            author=found.author,
            updated_at=found.updated_at,
        )


class PipelineVersionsView(View):
    """Pipeline versions, newest first."""

    versions: list[PipelineVersionView]


class TaggedModelView(View):
    """A model version that has a tag."""

    id: int
    name: str
    ordinal: int
    uuid: str


class TaggedPipelineView(View):
    """A pipeline that has a tag."""

    id: int
    name: str


class TagView(View):
    """A tag, with what has it."""

    id: int
    workspace_id: int
    text: str
    models: list[TaggedModelView]
    pipelines: list[TaggedPipelineView]
    created_at: Time
    created_by: int

    @classmethod
    def of(cls, tag: records.Tag) -> TagView:
        """Return the view of a tag."""
        return cls.model_validate(tag)


class TagsView(View):
    """Tags, oldest first."""

    tags: list[TagView]


class UserView(View):
    """Somebody whom the server knows."""

    id: int
    name: str
    created_at: Time


class UsersView(View):
    """Users, oldest first."""

    users: list[UserView]


class MemberView(View):
    """Somebody who may use a workspace, since when, and by whose leave."""

    id: int
    name: str
    role: MemberRole
    created_at: Time
    created_by: int


class MembersView(View):
    """Members of a workspace, oldest first."""

    users: list[MemberView]


class PieceView(View):
    """Something that nothing needs; see `control.garbage.Piece`."""

    name: str
    size_bytes: int


class FindingsView(View):
    """What nothing needs any more, largest first; see `control.garbage.Findings`."""

    files: list[PieceView]
    logs: list[PieceView]
    removed: bool
