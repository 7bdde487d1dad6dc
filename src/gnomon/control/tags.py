"""Tags: texts by which models and pipelines are found."""

from __future__ import annotations

from datetime import UTC, datetime

from gnomon.control.access import workspace_for
from gnomon.core import limits
from gnomon.core.access import Caller
from gnomon.core.errors import Invalid, LimitReached, NotFound
from gnomon.stores import models, pipelines
from gnomon.stores import tags as rows
from gnomon.stores.database import Database, Transaction
from gnomon.stores.records import Tag


class Tags:
    """The tags of workspaces, and what has them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, caller: Caller, workspace_id: int) -> list[Tag]:
        """Return a workspace's tags, oldest first.

        Raises:
            NotFound: No such workspace.
        """
        with self._database.read() as tx:
            workspace_for(tx, caller, workspace_id)
            return rows.all_tags(tx, workspace_id)

    def add(self, caller: Caller, workspace_id: int, text: str) -> tuple[Tag, bool]:
        """Make a tag, unless there is one of this text.

        Returns:
            The tag, and whether it is new.

        Raises:
            NotFound: No such workspace.
            Invalid, LimitReached.
        """
        shown = text.strip()
        if not shown or len(shown) > limits.TAG_CHARS_MAX or not shown.isprintable():
            raise Invalid(f"A tag must have 1 to {limits.TAG_CHARS_MAX} printable characters.")
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            known = rows.find_tag(tx, workspace_id, shown)
            if known is None:
                if rows.count_tags(tx, workspace_id) >= limits.TAGS_PER_WORKSPACE_MAX:
                    raise LimitReached(
                        f"Workspace {workspace_id} has {limits.TAGS_PER_WORKSPACE_MAX} tags, the "
                        "most it may have."
                    )
                made = rows.add_tag(tx, workspace_id, shown, caller.user_id, datetime.now(UTC))
                return _tag(tx, workspace_id, made), True
            return _tag(tx, workspace_id, known), False

    def delete(self, caller: Caller, workspace_id: int, tag_id: int) -> None:
        """Remove a tag, from whatever has it.

        Raises:
            NotFound: No such workspace or tag.
        """
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            _tag(tx, workspace_id, tag_id)
            rows.delete_tag(tx, tag_id)

    def set_on_model(
        self, caller: Caller, workspace_id: int, tag_id: int, version_id: int, wanted: bool
    ) -> Tag:
        """Let a model version have a tag, or have it no more; either may be so already.

        Raises:
            NotFound: No such workspace, tag or model version.
        """
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            _tag(tx, workspace_id, tag_id)
            found = models.versions_by_id(tx, [version_id]).get(version_id)
            if found is None or found.workspace_id != workspace_id:
                raise NotFound(
                    f"There is no model version with the id {version_id} in workspace "
                    f"{workspace_id}. It is the id of a version, as model.id() returns it."
                )
            if wanted:
                rows.tag_model(tx, tag_id, version_id, caller.user_id, datetime.now(UTC))
            else:
                rows.untag_model(tx, version_id, tag_id)
            return _tag(tx, workspace_id, tag_id)

    def set_on_pipeline(
        self, caller: Caller, workspace_id: int, tag_id: int, pipeline_id: int, wanted: bool
    ) -> Tag:
        """Let a pipeline have a tag, or have it no more; either may be so already.

        Raises:
            NotFound: No such workspace, tag or pipeline.
        """
        with self._database.write() as tx:
            workspace_for(tx, caller, workspace_id)
            _tag(tx, workspace_id, tag_id)
            if not pipelines.is_in(tx, workspace_id, pipeline_id):
                raise NotFound(
                    f"There is no pipeline with the id {pipeline_id} in workspace {workspace_id}."
                )
            if wanted:
                rows.tag_pipeline(tx, tag_id, pipeline_id, caller.user_id, datetime.now(UTC))
            else:
                rows.untag_pipeline(tx, pipeline_id, tag_id)
            return _tag(tx, workspace_id, tag_id)


def _tag(tx: Transaction, workspace_id: int, tag_id: int) -> Tag:
    found = rows.all_tags(tx, workspace_id, tag_id=tag_id)
    if not found:
        raise NotFound(f"There is no tag {tag_id} in workspace {workspace_id}.", tag=tag_id)
    return found[0]
