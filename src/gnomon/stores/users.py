"""Rows of users, their tokens and workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, delete, func, insert, select, true, update

from gnomon.core.names import name_key
from gnomon.stores.database import Transaction, insert_row
from gnomon.stores.records import Member, MemberRole, User, Workspace
from gnomon.stores.tables import (
    counters,
    members,
    model_versions,
    models,
    pipelines,
    tokens,
    users,
    workspaces,
)

OWNER: Literal["owner"] = "owner"
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
    set_member(tx, workspace_id, user_id, OWNER, by=user_id, now=now)
    made = workspace(tx, workspace_id)
    assert made is not None
    return made


def set_archived(tx: Transaction, workspace_id: int, archived: bool) -> None:
    """Archive a workspace, or bring it back."""
    own = workspaces.c.id == workspace_id
    tx.execute(update(workspaces).where(own).values(archived=archived))


def is_somebodys_own(tx: Transaction, workspace_id: int) -> bool:
    """Say whether it is the default workspace of a user."""
    own = select(users.c.id).where(users.c.workspace_id == workspace_id)
    return tx.scalar(own.limit(1)) is not None


def all_users(tx: Transaction) -> list[User]:
    """Return everybody whom the server knows, oldest first."""
    rows = tx.execute(select(users).order_by(users.c.id))
    return [User(id=row.id, name=row.name, created_at=row.created_at) for row in rows]


def find_or_add_user(tx: Transaction, name: str, now: datetime) -> int:
    """Return the id of the user of that name, who is made known if they are not."""
    user_id: int | None = tx.scalar(select(users.c.id).where(users.c.name == name))
    return insert_row(tx, users, name=name, created_at=now) if user_id is None else user_id


def workspace_members(tx: Transaction, workspace_id: int) -> list[Member]:
    """Return who may use a workspace, oldest first."""
    query = select(members, users.c.name).join_from(members, users, users.c.id == members.c.user_id)
    rows = tx.execute(query.where(members.c.workspace_id == workspace_id).order_by(members.c.id))
    return [
        Member(
            id=row.user_id,
            name=row.name,
            role=row.role,
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in rows
    ]


def set_member(
    tx: Transaction, workspace_id: int, user_id: int, role: MemberRole, *, by: int, now: datetime
) -> None:
    """Let a user into a workspace, or give them another role in it.

    Args:
        by: Id of the user who does so.
    """
    own = (members.c.workspace_id == workspace_id) & (members.c.user_id == user_id)
    made = {"role": role, "created_by": by, "created_at": now}
    if tx.execute(update(members).where(own).values(**made)).rowcount == 0:
        insert_row(tx, members, workspace_id=workspace_id, user_id=user_id, **made)


def remove_member(tx: Transaction, workspace_id: int, user_id: int) -> None:
    """Let a user no longer use a workspace."""
    own = (members.c.workspace_id == workspace_id) & (members.c.user_id == user_id)
    tx.execute(delete(members).where(own))


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
    inside: dict[str, dict[int, list[int]]] = {"models": {}, "pipelines": {}}
    living = select(model_versions.c.model_id).where(model_versions.c.deleted_at.is_(None))
    for kind, table, some in (
        ("models", models, models.c.id.in_(living)),
        ("pipelines", pipelines, true()),
    ):
        query = select(table.c.id, table.c.workspace_id).where(some).order_by(table.c.id)
        for member in tx.execute(query.where(table.c.workspace_id.in_(ids))):
            inside[kind].setdefault(member.workspace_id, []).append(member.id)
    names: dict[int, list[str]] = {}
    query = select(members.c.workspace_id, users.c.name).join_from(
        members, users, users.c.id == members.c.user_id
    )
    for row in tx.execute(query.where(members.c.workspace_id.in_(ids)).order_by(members.c.id)):
        names.setdefault(row.workspace_id, []).append(row.name)
    return [
        Workspace(
            id=row.id,
            name=row.name,
            archived=row.archived,
            users=tuple(names.get(row.id, ())),
            models=tuple(inside["models"].get(row.id, ())),
            pipelines=tuple(inside["pipelines"].get(row.id, ())),
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in rows
    ]
