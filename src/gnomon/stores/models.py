"""Rows of models and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, exists, func, select, update

from gnomon.core.model import ModelVersion, Signature
from gnomon.core.names import name_key
from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.records import Model
from gnomon.stores.tables import model_versions, models


def find_model_id(tx: Transaction, workspace_id: int, name: str) -> int | None:
    """Return the id of the workspace's model of that name, whatever its case."""
    named = (models.c.workspace_id == workspace_id) & (models.c.name_key == name_key(name))
    found: int | None = tx.scalar(select(models.c.id).where(named))
    return found


def count_models(tx: Transaction, workspace_id: int) -> int:
    """Return how many models a workspace has."""
    query = select(func.count()).select_from(models).where(models.c.workspace_id == workspace_id)
    return tx.scalar(query) or 0


def add_model(tx: Transaction, workspace_id: int, name: str, user_id: int, now: datetime) -> int:
    """Make a model without versions and return its id; its name must be free."""
    return insert_row(
        tx,
        models,
        workspace_id=workspace_id,
        name=name,
        name_key=name_key(name),
        created_by=user_id,
        created_at=now,
        updated_at=now,
    )


def add_version(
    tx: Transaction,
    model_id: int,
    *,
    uuid: str,
    sha256: str,
    size_bytes: int,
    file_name: str,
    signature: Signature,
    user_id: int,
    now: datetime,
) -> ModelVersion:
    """Add the model's next version."""
    ordinals = select(func.max(model_versions.c.ordinal)).where(
        model_versions.c.model_id == model_id
    )
    workspace_id = tx.scalar(select(models.c.workspace_id).where(models.c.id == model_id))
    version_id = insert_row(
        tx,
        model_versions,
        workspace_id=workspace_id,
        model_id=model_id,
        uuid=uuid,
        ordinal=(tx.scalar(ordinals) or 0) + 1,
        sha256=sha256,
        size_bytes=size_bytes,
        file_name=file_name,
        signature=signature.to_json(),
        tensor_fields=None,
        created_by=user_id,
        created_at=now,
    )
    tx.execute(update(models).where(models.c.id == model_id).values(updated_at=now))
    return versions_by_id(tx, [version_id])[version_id]


def set_tensor_fields(
    tx: Transaction, version_id: int, tensor_fields: tuple[str, ...] | None
) -> None:
    """Say which columns feed the version's inputs; None: found by name."""
    fields = None if tensor_fields is None else list(tensor_fields)
    changed = update(model_versions).where(model_versions.c.id == version_id)
    tx.execute(changed.values(tensor_fields=fields))


def all_models(tx: Transaction, workspace_id: int) -> list[Model]:
    """Return the workspace's models, oldest first."""
    versions: dict[int, list[ModelVersion]] = {}
    inside = _versions().where(model_versions.c.workspace_id == workspace_id)
    for row in tx.execute(inside.order_by(model_versions.c.ordinal.desc())):
        versions.setdefault(row.model_id, []).append(_version(row))
    rows = tx.execute(
        select(models).where(models.c.workspace_id == workspace_id).order_by(models.c.id)
    )
    return [
        Model(
            id=row.id,
            workspace_id=row.workspace_id,
            name=row.name,
            versions=tuple(versions.get(row.id, ())),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def newest_version(tx: Transaction, model_id: int) -> ModelVersion | None:
    """Return the version that was uploaded last."""
    query = _versions().where(model_versions.c.model_id == model_id)
    row = tx.execute(query.order_by(model_versions.c.ordinal.desc()).limit(1)).first()
    return None if row is None else _version(row)


def version_by_uuid(tx: Transaction, workspace_id: int, uuid: str) -> ModelVersion | None:
    """Return the workspace's version of that uuid."""
    known = (model_versions.c.workspace_id == workspace_id) & (model_versions.c.uuid == uuid)
    row = tx.execute(_versions().where(known)).first()
    return None if row is None else _version(row)


def versions_by_id(tx: Transaction, version_ids: Iterable[int]) -> dict[int, ModelVersion]:
    """Return the versions with these ids, of any workspace; unknown ids are left out."""
    wanted: Sequence[int] = sorted(set(version_ids))
    rows = tx.execute(_versions().where(model_versions.c.id.in_(wanted)))
    return {row.id: _version(row) for row in rows}


def is_used(tx: Transaction, sha256: str) -> bool:
    """Say whether a version has this file."""
    return bool(tx.scalar(select(exists().where(model_versions.c.sha256 == sha256))))


def _versions() -> Select[Any]:
    named = model_versions.join(models, model_versions.c.model_id == models.c.id)
    return select(model_versions, models.c.name).select_from(named)


def _version(row: Row[Any]) -> ModelVersion:
    return ModelVersion(
        id=row.id,
        uuid=row.uuid,
        model_id=row.model_id,
        workspace_id=row.workspace_id,
        name=row.name,
        ordinal=row.ordinal,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        file_name=row.file_name,
        signature=Signature.from_json(row.signature),
        tensor_fields=None if row.tensor_fields is None else tuple(row.tensor_fields),
        created_at=row.created_at,
        created_by=row.created_by,
    )
