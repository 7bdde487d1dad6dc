"""What users say of a model version, beside which columns feed it.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column."""
    op.add_column("model_versions", sa.Column("configuration", sa.JSON()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("model_versions", "configuration")
