"""Tags, members of workspaces, deleted model versions, and pipeline versions that restore others.

Revision ID: 0003
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables and columns; whoever made a workspace is its owner."""
    _table(
        "members",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        unique=("workspace_id", "user_id"),
        points={"user_id": "users.id"},
        check=sa.CheckConstraint("role in ('owner', 'user')", name="ck_members_role"),
    )
    op.execute(
        "INSERT INTO members (workspace_id, user_id, role, created_by, created_at) "
        "SELECT id, created_by, 'owner', created_by, created_at FROM workspaces"
    )
    _table(
        "tags",
        sa.Column("text", sa.String(100), nullable=False),
        unique=("workspace_id", "text"),
        points={},
    )
    for table, column, target in (
        ("tagged_models", "model_version_id", "model_versions.id"),
        ("tagged_pipelines", "pipeline_id", "pipelines.id"),
    ):
        _table(
            table,
            sa.Column("tag_id", _ID, nullable=False),
            sa.Column(column, _ID, nullable=False),
            unique=("tag_id", column),
            points={"tag_id": "tags.id", column: target},
        )
        op.create_index(f"ix_{table}_{column}", table, [column])
    op.add_column("model_versions", sa.Column("deleted_at", _TIME))
    op.add_column("pipeline_versions", sa.Column("restores", sa.String(36)))


def downgrade() -> None:
    """Drop the tables and columns."""
    op.drop_column("pipeline_versions", "restores")
    op.drop_column("model_versions", "deleted_at")
    for table in ("tagged_pipelines", "tagged_models", "tags", "members"):
        op.drop_table(table)


def _table(
    name: str,
    *columns: sa.Column[Any],
    unique: tuple[str, ...],
    points: dict[str, str],
    check: sa.CheckConstraint | None = None,
) -> None:
    targets = {"workspace_id": "workspaces.id", **points, "created_by": "users.id"}
    op.create_table(
        name,
        sa.Column("id", _ID, nullable=False),
        sa.Column("workspace_id", _ID, nullable=False),
        *columns,
        sa.Column("created_by", _ID, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sa.UniqueConstraint(*unique, name=f"uq_{name}_{'_'.join(unique)}"),
        *(
            sa.ForeignKeyConstraint([column], [target], name=f"fk_{name}_{column}")
            for column, target in targets.items()
        ),
        *(() if check is None else (check,)),
        sqlite_autoincrement=True,
    )
