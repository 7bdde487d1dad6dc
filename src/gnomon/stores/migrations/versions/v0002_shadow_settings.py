"""What is changed of challengers while they run.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "shadow_settings",
        sa.Column("id", _ID, nullable=False),
        sa.Column("workspace_id", _ID, nullable=False),
        sa.Column("pipeline_version_id", _ID, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_by", _ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shadow_settings"),
        *(
            sa.ForeignKeyConstraint([column], [target], name=f"fk_shadow_settings_{column}")
            for column, target in (
                ("workspace_id", "workspaces.id"),
                ("pipeline_version_id", "pipeline_versions.id"),
                ("created_by", "users.id"),
            )
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_shadow_settings_pipeline_version_id", "shadow_settings", ["pipeline_version_id"]
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("shadow_settings")
