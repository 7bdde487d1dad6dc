"""Rows of pipelines and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update

from gnomon.core import limits
from gnomon.core.names import name_key
from gnomon.core.pipeline import Definition
from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.records import Pipeline, PipelineVersion, ShadowRecord
from gnomon.stores.shadows import newest_changes
from gnomon.stores.tables import pipeline_versions, pipelines, workspaces
from gnomon.stores.tags import tags_of_pipelines


def count_pipelines(tx: Transaction, workspace_id: int) -> int:
    """Return how many pipelines a workspace has."""
    inside = pipelines.c.workspace_id == workspace_id
    return tx.scalar(select(func.count()).select_from(pipelines).where(inside)) or 0


def add_pipeline(tx: Transaction, workspace_id: int, name: str, user_id: int, now: datetime) -> int:
    """Make a pipeline without versions and return its id; its name must be free."""
    return insert_row(
        tx,
        pipelines,
        workspace_id=workspace_id,
        name=name,
        name_key=name_key(name),
        created_by=user_id,
        created_at=now,
        updated_at=now,
    )


def add_version(
    tx: Transaction,
    pipeline_id: int,
    definition: Definition,
    tensor_fields: Mapping[int, tuple[str, ...] | None],
    *,
    uuid: str,
    user_id: int,
    now: datetime,
    restores: str | None = None,
) -> int:
    """Add a version to the pipeline and return its id.

    Args:
        tensor_fields: Of each model version of the definition, by its id.
        restores: uuid of the older version that it is a copy of.
    """
    own = pipelines.c.id == pipeline_id
    version_id = insert_row(
        tx,
        pipeline_versions,
        workspace_id=tx.scalar(select(pipelines.c.workspace_id).where(own)),
        pipeline_id=pipeline_id,
        uuid=uuid,
        definition=definition.to_json(),
        tensor_fields={str(key): fields for key, fields in tensor_fields.items()},
        restores=restores,
        created_by=user_id,
        created_at=now,
    )
    tx.execute(update(pipelines).where(own).values(updated_at=now))
    return version_id


def is_in(tx: Transaction, workspace_id: int, pipeline_id: int) -> bool:
    """Say whether a pipeline is in a workspace."""
    own = (pipelines.c.id == pipeline_id) & (pipelines.c.workspace_id == workspace_id)
    return tx.scalar(select(pipelines.c.id).where(own)) is not None


def find_pipeline(tx: Transaction, workspace_id: int, name: str) -> Pipeline | None:
    """Return the workspace's pipeline of that name, whatever its case."""
    found = list_pipelines(tx, workspace_id, name=name, limit=1)
    return found[0] if found else None


def list_pipelines(
    tx: Transaction, workspace_id: int, *, name: str | None = None, limit: int
) -> list[Pipeline]:
    """Return the workspace's pipelines, newest first.

    Args:
        name: Only the one of this name.
        limit: Only so many.
    """
    query = select(pipelines, workspaces.c.name.label("workspace")).join_from(
        pipelines, workspaces, pipelines.c.workspace_id == workspaces.c.id
    )
    query = query.where(workspaces.c.id == workspace_id)
    if name is not None:
        query = query.where(pipelines.c.name_key == name_key(name))
    rows = tx.execute(query.order_by(pipelines.c.id.desc()).limit(limit)).all()
    tags = tags_of_pipelines(tx, [row.id for row in rows])
    return [_pipeline(tx, row, tags.get(row.id, ())) for row in rows]


def versions_by_id(tx: Transaction, version_ids: Iterable[int]) -> dict[int, PipelineVersion]:
    """Return the versions with these ids; unknown ids are left out."""
    wanted: Sequence[int] = sorted(set(version_ids))
    rows = tx.execute(select(pipeline_versions).where(pipeline_versions.c.id.in_(wanted)))
    changes = newest_changes(tx, wanted)
    return {row.id: version_of(row, changes.get(row.id)) for row in rows}


def _pipeline(tx: Transaction, row: Row[Any], tags: tuple[str, ...]) -> Pipeline:
    table = pipeline_versions.c
    own = select(table.uuid, table.id).where(table.pipeline_id == row.id)
    versions = tx.execute(own.order_by(table.id.desc()).limit(limits.PAGE_ROWS_MAX)).all()
    newest = tx.scalar(select(table.definition).where(table.id == versions[0].id))
    return Pipeline(
        id=row.id,
        workspace_id=row.workspace_id,
        workspace=row.workspace,
        name=row.name,
        versions=tuple(version.uuid for version in versions),
        definition=Definition.from_json(newest or {}),
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
        tags=tags,
    )


def version_of(row: Row[Any], shadow: ShadowRecord | None) -> PipelineVersion:
    """Return the version that a row of `pipeline_versions` holds."""
    return PipelineVersion(
        id=row.id,
        uuid=row.uuid,
        definition=Definition.from_json(row.definition),
        tensor_fields={
            int(key): None if fields is None else tuple(fields)
            for key, fields in row.tensor_fields.items()
        },
        shadow=shadow,
    )
