"""The first tables.

Revision ID: 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def _table(name: str, *columns: Any) -> None:
    op.create_table(
        name,
        sa.Column("id", _ID, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sqlite_autoincrement=True,
    )


def _reference(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}")


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def _made(table: str) -> tuple[Any, ...]:
    return (
        sa.Column("created_by", _ID, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _reference(table, "created_by", "users"),
    )


def _in_workspace(table: str, *, nullable: bool = False) -> tuple[Any, ...]:
    return (
        sa.Column("workspace_id", _ID, nullable=nullable),
        _reference(table, "workspace_id", "workspaces"),
    )


def _named(table: str) -> tuple[Any, ...]:
    return (
        *_in_workspace(table),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("name_key", sa.String(63), nullable=False),
        *_made(table),
        sa.Column("updated_at", _TIME, nullable=False),
        _unique(table, "workspace_id", "name_key"),
    )


def upgrade() -> None:
    """Make the tables."""
    _table(
        "users",
        sa.Column("workspace_id", _ID),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _unique("users", "name"),
    )
    _table(
        "workspaces",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("name_key", sa.String(63), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        *_made("workspaces"),
        _unique("workspaces", "name_key"),
    )
    _table(
        "tokens",
        *_in_workspace("tokens", nullable=True),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        *_made("tokens"),
        _reference("tokens", "user_id", "users"),
        _unique("tokens", "hash"),
        _unique("tokens", "user_id", "name"),
    )
    _table(
        "counters",
        *_in_workspace("counters", nullable=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        _unique("counters", "name"),
    )
    _make_models()
    _make_pipelines()


def _make_models() -> None:
    _table("models", *_named("models"))
    _table(
        "model_versions",
        *_in_workspace("model_versions"),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_name", sa.String(255), nullable=False),
        sa.Column("signature", sa.JSON(), nullable=False),
        sa.Column("tensor_fields", sa.JSON()),
        *_made("model_versions"),
        _reference("model_versions", "model_id", "models"),
        _unique("model_versions", "uuid"),
        _unique("model_versions", "model_id", "ordinal"),
    )
    op.create_index("ix_model_versions_sha256", "model_versions", ["sha256"])


def _make_pipelines() -> None:
    _table("pipelines", *_named("pipelines"))
    _table(
        "pipeline_versions",
        *_in_workspace("pipeline_versions"),
        sa.Column("pipeline_id", _ID, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("tensor_fields", sa.JSON(), nullable=False),
        *_made("pipeline_versions"),
        _reference("pipeline_versions", "pipeline_id", "pipelines"),
        _unique("pipeline_versions", "uuid"),
    )
    op.create_index("ix_pipeline_versions_pipeline_id", "pipeline_versions", ["pipeline_id"])
    _table(
        "deployments",
        *_in_workspace("deployments"),
        sa.Column("pipeline_id", _ID, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("desired", sa.String(16), nullable=False),
        sa.Column("desired_version_id", _ID, nullable=False),
        sa.Column("observed", sa.String(16), nullable=False),
        sa.Column("observed_revision", sa.BigInteger(), nullable=False),
        sa.Column("observed_version_id", _ID),
        sa.Column("observed_reason", sa.Text()),
        *_made("deployments"),
        sa.Column("updated_at", _TIME, nullable=False),
        _reference("deployments", "pipeline_id", "pipelines"),
        _reference("deployments", "desired_version_id", "pipeline_versions"),
        _reference("deployments", "observed_version_id", "pipeline_versions"),
        _unique("deployments", "pipeline_id"),
        sa.CheckConstraint("desired in ('running', 'stopped')", name="ck_deployments_desired"),
        sa.CheckConstraint(
            "observed in ('starting', 'running', 'failed', 'stopped')",
            name="ck_deployments_observed",
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "deployments",
        "pipeline_versions",
        "pipelines",
        "model_versions",
        "models",
        "counters",
        "tokens",
        "workspaces",
        "users",
    ):
        op.drop_table(table)
