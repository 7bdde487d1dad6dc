"""Rows of tags, and of what has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, delete, func, select

from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.records import Tag, TaggedModel, TaggedPipeline
from gnomon.stores.tables import (
    model_versions,
    models,
    pipelines,
    tagged_models,
    tagged_pipelines,
    tags,
)

_IDS_MAX = 10_000  # in one statement; SQLite takes 32,766
_version_id = tagged_models.c.model_version_id
_pipeline_id = tagged_pipelines.c.pipeline_id


def find_tag(tx: Transaction, workspace_id: int, text: str) -> int | None:
    """Return the id of the workspace's tag of that text."""
    known = (tags.c.workspace_id == workspace_id) & (tags.c.text == text)
    found: int | None = tx.scalar(select(tags.c.id).where(known))
    return found


def all_tags(tx: Transaction, workspace_id: int, *, tag_id: int | None = None) -> list[Tag]:
    """Return the workspace's tags, oldest first.

    Args:
        tag_id: Only this one.
    """
    query = select(tags).where(tags.c.workspace_id == workspace_id).order_by(tags.c.id)
    if tag_id is not None:
        query = query.where(tags.c.id == tag_id)
    rows = tx.execute(query).all()
    ids = [row.id for row in rows]
    on_models: dict[int, list[TaggedModel]] = {}
    for row in tx.execute(_models(ids)):
        tagged = TaggedModel(id=row.id, name=row.name, ordinal=row.ordinal, uuid=row.uuid)
        on_models.setdefault(row.tag_id, []).append(tagged)
    on_pipelines: dict[int, list[TaggedPipeline]] = {}
    for row in tx.execute(_pipelines(ids)):
        named = TaggedPipeline(id=row.id, name=row.name)
        on_pipelines.setdefault(row.tag_id, []).append(named)
    return [
        Tag(
            id=row.id,
            workspace_id=row.workspace_id,
            text=row.text,
            models=tuple(on_models.get(row.id, ())),
            pipelines=tuple(on_pipelines.get(row.id, ())),
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in rows
    ]


def count_tags(tx: Transaction, workspace_id: int) -> int:
    """Return how many tags a workspace has."""
    inside = tags.c.workspace_id == workspace_id
    return tx.scalar(select(func.count()).select_from(tags).where(inside)) or 0


def add_tag(tx: Transaction, workspace_id: int, text: str, user_id: int, now: datetime) -> int:
    """Make a tag and return its id; its text must be free."""
    return insert_row(
        tx, tags, workspace_id=workspace_id, text=text, created_by=user_id, created_at=now
    )


def delete_tag(tx: Transaction, tag_id: int) -> None:
    """Remove a tag from the workspace, and from whatever has it."""
    for table in (tagged_models, tagged_pipelines):
        tx.execute(delete(table).where(table.c.tag_id == tag_id))
    tx.execute(delete(tags).where(tags.c.id == tag_id))


def tag_model(tx: Transaction, tag_id: int, version_id: int, user_id: int, now: datetime) -> None:
    """Let a model version have a tag; it may have it already."""
    _tag(tx, tagged_models, _version_id, tag_id, version_id, user_id, now)


def tag_pipeline(
    tx: Transaction, tag_id: int, pipeline_id: int, user_id: int, now: datetime
) -> None:
    """Let a pipeline have a tag; it may have it already."""
    _tag(tx, tagged_pipelines, _pipeline_id, tag_id, pipeline_id, user_id, now)


def untag_model(tx: Transaction, version_id: int, tag_id: int | None = None) -> None:
    """Take a tag from a model version, or all of them."""
    _untag(tx, tagged_models, _version_id == version_id, tag_id)


def untag_pipeline(tx: Transaction, pipeline_id: int, tag_id: int | None = None) -> None:
    """Take a tag from a pipeline, or all of them."""
    _untag(tx, tagged_pipelines, _pipeline_id == pipeline_id, tag_id)


def tags_of_versions(tx: Transaction, version_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Return the tags of each of these model versions that has any, by its id."""
    return _tags_of(tx, tagged_models, _version_id, version_ids)


def tags_of_pipelines(tx: Transaction, pipeline_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Return the tags of each of these pipelines that has any, by its id."""
    return _tags_of(tx, tagged_pipelines, _pipeline_id, pipeline_ids)


def has_tag_like(version_id: Column[Any], term: str) -> ColumnElement[bool]:
    """Return the condition that a model version has a tag with `term` in it."""
    return version_id.in_(_tagged(tagged_models, _version_id, term))


def pipeline_has_tag_like(pipeline_id: Column[Any], term: str) -> ColumnElement[bool]:
    """Return the condition that a pipeline has a tag with `term` in it."""
    return pipeline_id.in_(_tagged(tagged_pipelines, _pipeline_id, term))


def _models(tag_ids: Sequence[int]) -> Select[Any]:
    version = model_versions.c
    joined = tagged_models.join(model_versions, version.id == _version_id).join(
        models, version.model_id == models.c.id
    )
    columns = (tagged_models.c.tag_id, version.id, models.c.name, version.ordinal, version.uuid)
    query = select(*columns).select_from(joined).where(tagged_models.c.tag_id.in_(tag_ids))
    return query.order_by(version.id)


def _pipelines(tag_ids: Sequence[int]) -> Select[Any]:
    columns = (tagged_pipelines.c.tag_id, pipelines.c.id, pipelines.c.name)
    joined = tagged_pipelines.join(pipelines, pipelines.c.id == _pipeline_id)
    query = select(*columns).select_from(joined).where(tagged_pipelines.c.tag_id.in_(tag_ids))
    return query.order_by(pipelines.c.id)


def _tagged(table: Table, column: Column[Any], term: str) -> Select[Any]:
    like = tags.c.text.icontains(term, autoescape=True)
    return select(column).join_from(table, tags, table.c.tag_id == tags.c.id).where(like)


def _tag(
    tx: Transaction,
    table: Table,
    column: Column[Any],
    tag_id: int,
    tagged_id: int,
    user_id: int,
    now: datetime,
) -> None:
    known = (table.c.tag_id == tag_id) & (column == tagged_id)
    if tx.scalar(select(table.c.id).where(known)) is None:
        own = select(tags.c.workspace_id).where(tags.c.id == tag_id)
        values = {"tag_id": tag_id, column.name: tagged_id}
        made = {"created_by": user_id, "created_at": now}
        insert_row(tx, table, workspace_id=tx.scalar(own), **values, **made)


def _untag(tx: Transaction, table: Table, own: ColumnElement[bool], tag_id: int | None) -> None:
    some = delete(table).where(own)
    tx.execute(some if tag_id is None else some.where(table.c.tag_id == tag_id))


def _tags_of(
    tx: Transaction, table: Table, column: Column[Any], tagged_ids: Iterable[int]
) -> dict[int, tuple[str, ...]]:
    ids = list(tagged_ids)
    joined = select(column, tags.c.text).join_from(table, tags, table.c.tag_id == tags.c.id)
    found: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(ids), _IDS_MAX):
        some = joined.where(column.in_(ids[start : start + _IDS_MAX])).order_by(tags.c.text)
        for tagged_id, text in tx.execute(some):
            found[tagged_id] = (*found.get(tagged_id, ()), text)
    return found
