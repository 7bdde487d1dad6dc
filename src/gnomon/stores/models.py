"""Rows of models and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, exists, func, or_, select, update

from gnomon.core.model import Configuration, ModelVersion, Runtime, Signature
from gnomon.core.names import name_key
from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.records import Model, Period
from gnomon.stores.tables import model_versions, models, users, workspaces
from gnomon.stores.tags import has_tag_like, tags_of_versions

LATEST = "latest"
_DIGITS_MAX = 9


def find_model_id(tx: Transaction, workspace_id: int, name: str) -> int | None:
    """Return the id of the workspace's model of that name, whatever its case."""
    named = (models.c.workspace_id == workspace_id) & (models.c.name_key == name_key(name))
    found: int | None = tx.scalar(select(models.c.id).where(named))
    return found


def count_models(tx: Transaction, workspace_id: int) -> int:
    """Return how many models a workspace has, without those that have no version left."""
    query = select(func.count(func.distinct(model_versions.c.model_id)))
    return tx.scalar(query.where(_lives(), model_versions.c.workspace_id == workspace_id)) or 0


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
    runtime: Runtime,
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
        runtime=runtime,
        tensor_fields=None,
        created_by=user_id,
        created_at=now,
    )
    tx.execute(update(models).where(models.c.id == model_id).values(updated_at=now))
    return versions_by_id(tx, [version_id])[version_id]


def configure(
    tx: Transaction,
    version_id: int,
    tensor_fields: tuple[str, ...] | None,
    configuration: Configuration,
) -> None:
    """Say how a version is configured.

    Args:
        tensor_fields: The columns that feed its inputs; None: found by name.
    """
    fields = None if tensor_fields is None else list(tensor_fields)
    changed = update(model_versions).where(model_versions.c.id == version_id)
    tx.execute(changed.values(tensor_fields=fields, configuration=configuration.to_json()))


def all_models(tx: Transaction, workspace_id: int, *, name: str | None = None) -> list[Model]:
    """Return the workspace's models, oldest first; not those that have no version left.

    Args:
        name: Only the one of this name, whatever its case.
    """
    query = select(models).where(models.c.workspace_id == workspace_id)
    if name is not None:
        query = query.where(models.c.name_key == name_key(name))
    rows = tx.execute(query.order_by(models.c.id)).all()
    versions: dict[int, list[ModelVersion]] = {}
    own = model_versions.c.model_id.in_([row.id for row in rows])
    inside = _living().where(own if name is not None else models.c.workspace_id == workspace_id)
    for version in _read(tx, inside.order_by(model_versions.c.ordinal.desc())):
        versions.setdefault(version.model_id, []).append(version)
    return [
        Model(
            id=row.id,
            workspace_id=row.workspace_id,
            name=row.name,
            versions=tuple(versions[row.id]),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
        if row.id in versions
    ]


def find_version(tx: Transaction, workspace_id: int, name: str, wanted: str) -> ModelVersion | None:
    """Return one version of a model.

    Args:
        wanted: Its uuid, its number, or "latest".
    """
    named = (models.c.workspace_id == workspace_id) & (models.c.name_key == name_key(name))
    query = _living().where(named).order_by(model_versions.c.ordinal.desc()).limit(1)
    if wanted.isdecimal() and len(wanted) <= _DIGITS_MAX:
        query = query.where(model_versions.c.ordinal == int(wanted))
    elif wanted != LATEST:
        query = query.where(model_versions.c.uuid == wanted)
    return next(iter(_read(tx, query)), None)


def version_by_uuid(tx: Transaction, workspace_id: int, uuid: str) -> ModelVersion | None:
    """Return the workspace's version of that uuid."""
    known = (model_versions.c.workspace_id == workspace_id) & (model_versions.c.uuid == uuid)
    return next(iter(_read(tx, _living().where(known))), None)


def versions_by_id(
    tx: Transaction, version_ids: Iterable[int], *, deleted: bool = False
) -> dict[int, ModelVersion]:
    """Return the versions with these ids, of any workspace; unknown ids are left out.

    Args:
        deleted: Also those that were deleted.
    """
    wanted: Sequence[int] = sorted(set(version_ids))
    query = _versions() if deleted else _living()
    found = _read(tx, query.where(model_versions.c.id.in_(wanted)))
    return {version.id: version for version in found}


def search(
    tx: Transaction, workspace_id: int, term: str | None, uploaded: Period, *, limit: int
) -> list[ModelVersion]:
    """Return the workspace's versions of which this is true, newest first.

    Args:
        term: Part of the name, sha256, uuid, file name or a tag, whatever its case; None: all.
        uploaded: When.
    """
    table = model_versions.c
    query = _living().where(table.workspace_id == workspace_id, *uploaded.holds(table.created_at))
    if term:
        texts = (models.c.name, table.sha256, table.uuid, table.file_name)
        alike = [text.icontains(term, autoescape=True) for text in texts]
        query = query.where(or_(*alike, has_tag_like(table.id, term)))
    return _read(tx, query.order_by(table.id.desc()).limit(limit))


def delete_version(tx: Transaction, version_id: int, now: datetime) -> None:
    """Let a version be found no more; its number is not given again."""
    own = model_versions.c.id == version_id
    tx.execute(update(model_versions).where(own).values(deleted_at=now))
    model_id = select(model_versions.c.model_id).where(own).scalar_subquery()
    tx.execute(update(models).where(models.c.id == model_id).values(updated_at=now))


def is_used(tx: Transaction, sha256: str) -> bool:
    """Say whether a version has this file."""
    return bool(tx.scalar(select(exists().where(_lives(), model_versions.c.sha256 == sha256))))


def used_files(tx: Transaction) -> frozenset[str]:
    """Return the sha256 of every file that a version has, in any workspace."""
    return frozenset(tx.scalars(select(model_versions.c.sha256).where(_lives()).distinct()))


def _lives() -> ColumnElement[bool]:
    return model_versions.c.deleted_at.is_(None)


def _versions() -> Select[Any]:
    table = model_versions.c
    joined = (
        model_versions.join(models, table.model_id == models.c.id)
        .join(workspaces, table.workspace_id == workspaces.c.id)
        .join(users, table.created_by == users.c.id)
    )
    named = (
        models.c.name, workspaces.c.name.label("workspace"), users.c.name.label("author")
    )  # fmt: skip
    return select(model_versions, *named).select_from(joined)


def _living() -> Select[Any]:
    return _versions().where(_lives())


def _read(tx: Transaction, query: Select[Any]) -> list[ModelVersion]:
    rows = tx.execute(query).all()
    tagged = tags_of_versions(tx, [row.id for row in rows])
    return [_version(row, tagged.get(row.id, ())) for row in rows]


def _version(row: Row[Any], tags: tuple[str, ...]) -> ModelVersion:
    return ModelVersion(
        id=row.id,
        uuid=row.uuid,
        model_id=row.model_id,
        workspace_id=row.workspace_id,
        workspace=row.workspace,
        name=row.name,
        ordinal=row.ordinal,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        file_name=row.file_name,
        signature=Signature.from_json(row.signature),
        runtime=row.runtime,
        tensor_fields=None if row.tensor_fields is None else tuple(row.tensor_fields),
        configuration=Configuration.from_json(row.configuration or {}),
        created_at=row.created_at,
        created_by=row.created_by,
        author=row.author,
        tags=tags,
    )
