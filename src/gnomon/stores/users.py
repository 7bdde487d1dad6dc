"""Rows of users, their tokens and workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from gnomon.core.names import name_key
from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.records import Workspace
from gnomon.stores.tables import counters, models, pipelines, tokens, users, workspaces

OWNER = "owner"
DEFAULT_WORKSPACE = "default-workspace"
_FILE_TOKEN = "file"  # noqa: S105 (its name: it is the one in the owner's token file)


def ensure_owner(tx: Transaction, token_hash: str, now: datetime) -> int:
    """Make the owner and its default workspace, and let it have the token; return its id.

    The token replaces the one that the owner's token file held before.
    """
    user_id: int | None = tx.scalar(select(users.c.id).where(users.c.name == OWNER))
    if user_id is None:
        user_id = insert_row(tx, users, name=OWNER, created_at=now)
    default_workspace(tx, user_id, now)
    known = (tokens.c.user_id == user_id) & (tokens.c.name == _FILE_TOKEN)
    found = tx.scalar(select(tokens.c.hash).where(known))
    if found is None:
        values = {"name": _FILE_TOKEN, "hash": token_hash, "created_by": user_id}
        insert_row(tx, tokens, user_id=user_id, created_at=now, **values)
    elif found != token_hash:
        tx.execute(update(tokens).where(known).values(hash=token_hash, created_at=now))
    return user_id


def token_owners(tx: Transaction) -> dict[str, int]:
    """Return every token's hash with the id of the user it stands for."""
    return {row.hash: row.user_id for row in tx.execute(select(tokens.c.hash, tokens.c.user_id))}


def next_count(tx: Transaction, name: str) -> int:
    """Return 1, 2, 3, ...: a number that this counter never gave before."""
    at = tx.scalar(select(counters.c.value).where(counters.c.name == name))
    if at is None:
        tx.execute(insert(counters).values(name=name, value=1))
        return 1
    tx.execute(update(counters).where(counters.c.name == name).values(value=at + 1))
    return int(at) + 1


def own_workspace(tx: Transaction, user_id: int) -> Workspace | None:
    """Return the user's own workspace."""
    own: int | None = tx.scalar(select(users.c.workspace_id).where(users.c.id == user_id))
    return None if own is None else workspace(tx, own)


def default_workspace(tx: Transaction, user_id: int, now: datetime) -> Workspace:
    """Return the user's own workspace; it is made if there is none."""
    found = own_workspace(tx, user_id)
    if found is None:
        taken = find_workspace(tx, DEFAULT_WORKSPACE)
        name = DEFAULT_WORKSPACE if taken is None else f"{DEFAULT_WORKSPACE}-{user_id}"
        found = add_workspace(tx, name, user_id, now)
        tx.execute(update(users).where(users.c.id == user_id).values(workspace_id=found.id))
    return found


def add_workspace(tx: Transaction, name: str, user_id: int, now: datetime) -> Workspace:
    """Make a workspace; its name must be free."""
    workspace_id = insert_row(
        tx,
        workspaces,
        name=name,
        name_key=name_key(name),
        archived=False,
        created_by=user_id,
        created_at=now,
    )
    return Workspace(
        id=workspace_id,
        name=name,
        archived=False,
        models=(),
        pipelines=(),
        created_at=now,
        created_by=user_id,
    )


def count_workspaces(tx: Transaction) -> int:
    """Return how many workspaces there are."""
    return tx.scalar(select(func.count()).select_from(workspaces)) or 0


def find_workspace(tx: Transaction, name: str) -> Workspace | None:
    """Return the workspace of that name, whatever its case."""
    row = tx.execute(select(workspaces).where(workspaces.c.name_key == name_key(name))).first()
    return None if row is None else _workspaces(tx, [row])[0]


def workspace(tx: Transaction, workspace_id: int) -> Workspace | None:
    """Return one workspace."""
    row = tx.execute(select(workspaces).where(workspaces.c.id == workspace_id)).first()
    return None if row is None else _workspaces(tx, [row])[0]


def all_workspaces(tx: Transaction) -> list[Workspace]:
    """Return every workspace, oldest first."""
    return _workspaces(tx, tx.execute(select(workspaces).order_by(workspaces.c.id)).all())


def _workspaces(tx: Transaction, rows: Sequence[Row[Any]]) -> list[Workspace]:
    ids = [row.id for row in rows]
    members: dict[str, dict[int, list[int]]] = {"models": {}, "pipelines": {}}
    for kind, table in (("models", models), ("pipelines", pipelines)):
        query = select(table.c.id, table.c.workspace_id).order_by(table.c.id)
        for member in tx.execute(query.where(table.c.workspace_id.in_(ids))):
            members[kind].setdefault(member.workspace_id, []).append(member.id)
    return [
        Workspace(
            id=row.id,
            name=row.name,
            archived=row.archived,
            models=tuple(members["models"].get(row.id, ())),
            pipelines=tuple(members["pipelines"].get(row.id, ())),
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in rows
    ]
