"""The history of pipelines: every version, who made it and when, and what is deployed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from gnomon.stores.database import Transaction
from gnomon.stores.pipelines import version_of
from gnomon.stores.records import Period, PipelineVersionRecord
from gnomon.stores.shadows import newest_changes
from gnomon.stores.tables import (
    deployments,
    pipeline_versions,
    pipelines,
    shadow_settings,
    users,
    workspaces,
)
from gnomon.stores.tags import pipeline_has_tag_like, tags_of_pipelines

_DIGITS_MAX = 9
_VERSION = pipeline_versions.c


def pipeline_history(
    tx: Transaction, pipeline_id: int, *, limit: int
) -> list[PipelineVersionRecord]:
    """Return the versions of a pipeline, newest first."""
    return _read(tx, _versions(_VERSION.pipeline_id == pipeline_id).limit(limit))


def find_version(tx: Transaction, pipeline_id: int, wanted: str) -> PipelineVersionRecord | None:
    """Return one version of a pipeline.

    Args:
        wanted: Its uuid, or its number.
    """
    query = _versions(_VERSION.pipeline_id == pipeline_id)
    if wanted.isdecimal() and len(wanted) <= _DIGITS_MAX:
        query = query.where(_number(query) == int(wanted))
    else:
        query = query.where(_VERSION.uuid == wanted)
    return next(iter(_read(tx, query)), None)


def search(
    tx: Transaction,
    workspace_id: int,
    term: str | None,
    *,
    deployed: bool | None,
    created: Period,
    updated: Period,
    limit: int,
) -> list[PipelineVersionRecord]:
    """Return the workspace's pipeline versions of which this is true, newest first.

    Args:
        term: Part of the pipeline's name, the uuid or a tag, whatever its case; None: all.
        deployed: Whether callers get it; None: either.
        created: When it was made.
        updated: When it was made, or last changed how its challengers watch.
    """
    query = _versions(_VERSION.workspace_id == workspace_id).limit(limit)
    query = query.where(*created.holds(_VERSION.created_at), *updated.holds(_updated_at()))
    if deployed is not None:
        query = query.where(_deployed().is_(deployed))
    if term:
        texts = (pipelines.c.name, _VERSION.uuid)
        alike = [text.icontains(term, autoescape=True) for text in texts]
        query = query.where(or_(*alike, pipeline_has_tag_like(pipelines.c.id, term)))
    return _read(tx, query)


def _deployed() -> ColumnElement[bool]:
    serves = (deployments.c.desired == "running") & (
        deployments.c.observed_version_id == _VERSION.id
    )
    return func.coalesce(serves, False)


def _updated_at() -> ColumnElement[Any]:
    changes = shadow_settings.c
    newest = select(func.max(changes.created_at)).where(changes.pipeline_version_id == _VERSION.id)
    return func.coalesce(newest.scalar_subquery(), _VERSION.created_at)


def _versions(some: ColumnElement[bool]) -> Select[Any]:
    """Return the query for versions, numbered within their pipelines before others are added."""
    number = func.row_number().over(partition_by=_VERSION.pipeline_id, order_by=_VERSION.id)
    numbered = select(_VERSION.id, number.label("number")).where(some).subquery("numbered")
    joined = (
        pipeline_versions.join(numbered, numbered.c.id == _VERSION.id)
        .join(pipelines, pipelines.c.id == _VERSION.pipeline_id)
        .join(workspaces, workspaces.c.id == _VERSION.workspace_id)
        .join(users, users.c.id == _VERSION.created_by)
        .outerjoin(deployments, deployments.c.pipeline_id == _VERSION.pipeline_id)
    )
    columns = (
        numbered.c.number,
        pipelines.c.name.label("pipeline"),
        workspaces.c.name.label("workspace"),
        users.c.name.label("author"),
        _deployed().label("deployed"),
        _updated_at().label("updated_at"),
    )
    return select(pipeline_versions, *columns).select_from(joined).order_by(_VERSION.id.desc())


def _number(query: Select[Any]) -> ColumnElement[Any]:
    return query.selected_columns["number"]


def _read(tx: Transaction, query: Select[Any]) -> list[PipelineVersionRecord]:
    rows = tx.execute(query).all()
    changes = newest_changes(tx, [row.id for row in rows])
    tags = tags_of_pipelines(tx, {row.pipeline_id for row in rows})
    return [
        PipelineVersionRecord(
            version=version_of(row, changes.get(row.id)),
            number=row.number,
            pipeline_id=row.pipeline_id,
            pipeline=row.pipeline,
            workspace_id=row.workspace_id,
            workspace=row.workspace,
            restores=row.restores,
            deployed=bool(row.deployed),
            created_at=row.created_at,
            created_by=row.created_by,
            author=row.author,
            updated_at=row.updated_at,
            tags=tags.get(row.pipeline_id, ()),
        )
        for row in rows
    ]
