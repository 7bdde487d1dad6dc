"""Removing rows for good: pipelines, and whole workspaces."""

from __future__ import annotations

from sqlalchemy import delete, select

from gnomon.stores.database import Transaction
from gnomon.stores.tables import (
    deployments,
    metadata,
    pipeline_versions,
    pipelines,
    shadow_settings,
    tagged_pipelines,
    tokens,
    users,
    workspaces,
)

# Rows that name a workspace without being in it.
_NOT_INSIDE = (users, tokens)


def delete_pipeline(tx: Transaction, pipeline_id: int) -> None:
    """Remove a pipeline with its versions, its deployment and what was changed of it."""
    versions = select(pipeline_versions.c.id).where(pipeline_versions.c.pipeline_id == pipeline_id)
    tx.execute(delete(shadow_settings).where(shadow_settings.c.pipeline_version_id.in_(versions)))
    for table in (tagged_pipelines, deployments, pipeline_versions):
        tx.execute(delete(table).where(table.c.pipeline_id == pipeline_id))
    tx.execute(delete(pipelines).where(pipelines.c.id == pipeline_id))


def delete_workspace(tx: Transaction, workspace_id: int) -> None:
    """Remove a workspace with everything in it."""
    for table in reversed(metadata.sorted_tables):  # what points comes before what it points to
        if "workspace_id" in table.c and table not in _NOT_INSIDE:
            tx.execute(delete(table).where(table.c.workspace_id == workspace_id))
    tx.execute(delete(workspaces).where(workspaces.c.id == workspace_id))


def pipeline_ids(tx: Transaction) -> frozenset[tuple[int, int]]:
    """Return workspace id and id of every pipeline."""
    rows = tx.execute(select(pipelines.c.workspace_id, pipelines.c.id))
    return frozenset((row.workspace_id, row.id) for row in rows)
