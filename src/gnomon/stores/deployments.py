"""Rows of deployments: the API writes what is desired, the reconciler what it observed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, update

from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.pipelines import versions_by_id
from gnomon.stores.records import Deployment, Observed
from gnomon.stores.tables import deployments, pipeline_versions, pipelines


def find_deployment(tx: Transaction, pipeline_id: int) -> Deployment | None:
    """Return the pipeline's deployment; None if it was never deployed."""
    rows = tx.execute(_deployments().where(deployments.c.pipeline_id == pipeline_id)).all()
    return _read(tx, rows)[0] if rows else None


def workspace_deployments(tx: Transaction, workspace_id: int) -> list[Deployment]:
    """Return the workspace's deployments, oldest first."""
    inside = _deployments().where(deployments.c.workspace_id == workspace_id)
    return _read(tx, tx.execute(inside).all())


def all_deployments(tx: Transaction, *, idle: bool = True) -> list[Deployment]:
    """Return every deployment, oldest first.

    Args:
        idle: Also those that are stopped, as they should be and as is noted.
    """
    query = _deployments()
    if not idle:
        query = query.where(
            (deployments.c.desired != "stopped")
            | (deployments.c.observed != "stopped")
            | (deployments.c.observed_revision != deployments.c.revision)
        )
    return _read(tx, tx.execute(query).all())


def want_running(
    tx: Transaction,
    workspace_id: int,
    pipeline_id: int,
    version_id: int,
    *,
    user_id: int,
    now: datetime,
) -> None:
    """Ask for a pipeline version to run; the deployment is made if there is none."""
    own = deployments.c.pipeline_id == pipeline_id
    changed = tx.execute(
        update(deployments)
        .where(own)
        .values(
            desired="running",
            desired_version_id=version_id,
            revision=deployments.c.revision + 1,
            updated_at=now,
        )
    )
    if changed.rowcount == 0:
        insert_row(
            tx,
            deployments,
            workspace_id=workspace_id,
            pipeline_id=pipeline_id,
            revision=1,
            desired="running",
            desired_version_id=version_id,
            observed="stopped",
            observed_revision=0,
            created_by=user_id,
            created_at=now,
            updated_at=now,
        )


def want_stopped(tx: Transaction, deployment_id: int, now: datetime) -> None:
    """Ask for a deployment to stop."""
    tx.execute(
        update(deployments)
        .where(deployments.c.id == deployment_id)
        .values(desired="stopped", revision=deployments.c.revision + 1, updated_at=now)
    )


def note(
    tx: Transaction,
    deployment_id: int,
    *,
    revision: int,
    observed: Observed,
    serving: str | None,
    reason: str | None,
) -> None:
    """Write down what was observed of a deployment at one of its revisions.

    Args:
        serving: uuid of the pipeline version that callers get; None: none.
    """
    version = select(pipeline_versions.c.id).where(pipeline_versions.c.uuid == serving)
    tx.execute(
        update(deployments)
        .where(deployments.c.id == deployment_id)
        .values(
            observed=observed,
            observed_revision=revision,
            observed_version_id=version.scalar_subquery(),
            observed_reason=reason,
        )
    )


def _deployments() -> Select[Any]:
    named = deployments.join(pipelines, deployments.c.pipeline_id == pipelines.c.id)
    query = select(deployments, pipelines.c.name.label("pipeline")).select_from(named)
    return query.order_by(deployments.c.id)


def _read(tx: Transaction, rows: Sequence[Row[Any]]) -> list[Deployment]:
    ids = {row.desired_version_id for row in rows} | {row.observed_version_id for row in rows}
    versions = versions_by_id(tx, ids - {None})
    return [
        Deployment(
            id=row.id,
            workspace_id=row.workspace_id,
            pipeline_id=row.pipeline_id,
            pipeline=row.pipeline,
            revision=row.revision,
            desired=row.desired,
            wanted=versions[row.desired_version_id],
            observed=row.observed,
            observed_revision=row.observed_revision,
            serving=versions.get(row.observed_version_id),
            reason=row.observed_reason,
            updated_at=row.updated_at,
        )
        for row in rows
    ]
