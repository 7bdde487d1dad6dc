"""Rows of what was changed of challengers while they ran."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, select

from gnomon.core import limits
from gnomon.core.shadow import ShadowSettings
from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.records import ShadowRecord
from gnomon.stores.tables import pipeline_versions, shadow_settings


def add_change(
    tx: Transaction, version_id: int, settings: ShadowSettings, *, user_id: int, now: datetime
) -> None:
    """Let the challengers of a pipeline version watch like this from now on.

    Of the changes before, the newest `SHADOW_CHANGES_KEPT` are kept.
    """
    own = pipeline_versions.c.id == version_id
    insert_row(
        tx,
        shadow_settings,
        workspace_id=tx.scalar(select(pipeline_versions.c.workspace_id).where(own)),
        pipeline_version_id=version_id,
        settings=settings.to_json(),
        created_by=user_id,
        created_at=now,
    )
    row = shadow_settings.c
    kept = select(row.id).where(row.pipeline_version_id == version_id).order_by(row.id.desc())
    tx.execute(
        delete(shadow_settings).where(
            row.pipeline_version_id == version_id,
            row.id.not_in(kept.limit(limits.SHADOW_CHANGES_KEPT)),
        )
    )


def newest_changes(tx: Transaction, version_ids: Iterable[int]) -> dict[int, ShadowRecord]:
    """Return the newest change of each of these pipeline versions, by the version's id."""
    version = shadow_settings.c.pipeline_version_id
    newest = (
        select(func.max(shadow_settings.c.id)).where(version.in_(version_ids)).group_by(version)
    )
    rows = tx.execute(_changes().where(shadow_settings.c.id.in_(newest)))
    return {row.pipeline_version_id: _record(row) for row in rows}


def pipeline_changes(tx: Transaction, pipeline_id: int, *, limit: int) -> list[ShadowRecord]:
    """Return what was changed in a pipeline's versions, newest first."""
    own = _changes().where(pipeline_versions.c.pipeline_id == pipeline_id)
    rows = tx.execute(own.order_by(shadow_settings.c.id.desc()).limit(limit))
    return [_record(row) for row in rows]


def _changes() -> Select[Any]:
    version = pipeline_versions.c
    return select(shadow_settings, version.uuid).join_from(
        shadow_settings, pipeline_versions, shadow_settings.c.pipeline_version_id == version.id
    )


def _record(row: Row[Any]) -> ShadowRecord:
    return ShadowRecord(
        pipeline_version=row.uuid,
        settings=ShadowSettings.from_json(row.settings),
        created_at=row.created_at,
        created_by=row.created_by,
    )
