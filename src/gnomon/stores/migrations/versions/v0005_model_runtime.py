"""What runs a model version: ONNX Runtime, or Python.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column; what there is are ONNX models."""
    runtime = sa.Column("runtime", sa.String(16), nullable=False, server_default="onnx")
    op.add_column("model_versions", runtime)


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("model_versions", "runtime")
