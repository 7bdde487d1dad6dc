"""The tables of the metadata database, as they are after the last migration.

Every table has a bigint id and a workspace id, and says who made a row and when. Versions have a
uuid. Ids are never used twice: routing and log are keyed by them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

HEAD = "0005"  # the last migration; a test compares it with the files

# SQLite numbers rows by itself only in a column that is INTEGER to the letter.
Id = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC to the microsecond; SQLite forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Turn an aware datetime into what the database keeps."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Turn what the database kept into an aware datetime."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *columns: Any) -> Table:
    return Table(
        name, metadata, Column("id", Id, primary_key=True), *columns, sqlite_autoincrement=True
    )


def _made() -> tuple[Column[Any], Column[Any]]:
    return (
        Column("created_by", Id, ForeignKey("users.id"), nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
    )


def _in_workspace() -> Column[Any]:
    return Column("workspace_id", Id, ForeignKey("workspaces.id"), nullable=False)


# A user's default workspace. No foreign key: workspaces point to users already.
users = _table(
    "users",
    Column("workspace_id", Id),
    Column("name", String(63), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
)

tokens = _table(
    "tokens",
    Column("workspace_id", Id, ForeignKey("workspaces.id")),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    *_made(),
    UniqueConstraint("user_id", "name"),
)

workspaces = _table(
    "workspaces",
    Column("name", String(63), nullable=False),
    Column("name_key", String(63), nullable=False, unique=True),
    Column("archived", Boolean, nullable=False),
    *_made(),
)

# Who may use a workspace, and as what. Kept, and not asked for yet when something is to be done.
members = _table(
    "members",
    _in_workspace(),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("role", String(16), nullable=False),
    *_made(),
    UniqueConstraint("workspace_id", "user_id"),
    CheckConstraint("role in ('owner', 'user')", name="role"),
)

models = _table(
    "models",
    _in_workspace(),
    Column("name", String(63), nullable=False),
    Column("name_key", String(63), nullable=False),
    *_made(),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("workspace_id", "name_key"),
)

# A version that was deleted stays as a row, so that its number is not given again and pipeline
# versions that once ran it can say what it was.
model_versions = _table(
    "model_versions",
    _in_workspace(),
    Column("model_id", Id, ForeignKey("models.id"), nullable=False),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("ordinal", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("file_name", String(255), nullable=False),
    Column("signature", JSON, nullable=False),
    Column("runtime", String(16), nullable=False, server_default="onnx"),
    Column("tensor_fields", JSON(none_as_null=True)),
    Column("configuration", JSON(none_as_null=True)),
    *_made(),
    Column("deleted_at", UtcDateTime),
    UniqueConstraint("model_id", "ordinal"),
    Index(None, "sha256"),
)

pipelines = _table(
    "pipelines",
    _in_workspace(),
    Column("name", String(63), nullable=False),
    Column("name_key", String(63), nullable=False),
    *_made(),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("workspace_id", "name_key"),
)

# `tensor_fields`: of each model version (by its id, as text) when the pipeline version was made,
# so that configuring a model changes nothing that runs. `restores`: uuid of the older version that
# this one is a copy of.
pipeline_versions = _table(
    "pipeline_versions",
    _in_workspace(),
    Column("pipeline_id", Id, ForeignKey("pipelines.id"), nullable=False),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("definition", JSON, nullable=False),
    Column("tensor_fields", JSON, nullable=False),
    Column("restores", String(36)),
    *_made(),
    Index(None, "pipeline_id"),
)

# How the challengers of a pipeline version watch, where that was changed while it ran: one row a
# change, never changed itself, the newest in force. A version that has none is as it was defined.
shadow_settings = _table(
    "shadow_settings",
    _in_workspace(),
    Column("pipeline_version_id", Id, ForeignKey("pipeline_versions.id"), nullable=False),
    Column("settings", JSON, nullable=False),
    *_made(),
    Index(None, "pipeline_version_id"),
)

# Two writers, two groups of columns: the API writes `revision`, `desired*` and `updated_at`; only
# the reconciler writes `observed*`.
deployments = _table(
    "deployments",
    _in_workspace(),
    Column("pipeline_id", Id, ForeignKey("pipelines.id"), nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    Column("desired", String(16), nullable=False),
    Column("desired_version_id", Id, ForeignKey("pipeline_versions.id"), nullable=False),
    Column("observed", String(16), nullable=False),
    Column("observed_revision", BigInteger, nullable=False),
    Column("observed_version_id", Id, ForeignKey("pipeline_versions.id")),
    Column("observed_reason", Text),
    *_made(),
    Column("updated_at", UtcDateTime, nullable=False),
    CheckConstraint("desired in ('running', 'stopped')", name="desired"),
    CheckConstraint("observed in ('starting', 'running', 'failed', 'stopped')", name="observed"),
)

tags = _table(
    "tags",
    _in_workspace(),
    Column("text", String(100), nullable=False),
    *_made(),
    UniqueConstraint("workspace_id", "text"),
)

tagged_models = _table(
    "tagged_models",
    _in_workspace(),
    Column("tag_id", Id, ForeignKey("tags.id"), nullable=False),
    Column("model_version_id", Id, ForeignKey("model_versions.id"), nullable=False),
    *_made(),
    UniqueConstraint("tag_id", "model_version_id"),
    Index(None, "model_version_id"),
)

tagged_pipelines = _table(
    "tagged_pipelines",
    _in_workspace(),
    Column("tag_id", Id, ForeignKey("tags.id"), nullable=False),
    Column("pipeline_id", Id, ForeignKey("pipelines.id"), nullable=False),
    *_made(),
    UniqueConstraint("tag_id", "pipeline_id"),
    Index(None, "pipeline_id"),
)

counters = _table(
    "counters",
    Column("workspace_id", Id, ForeignKey("workspaces.id")),
    Column("name", String(63), nullable=False, unique=True),
    Column("value", BigInteger, nullable=False),
)
