"""Run by Alembic; the connection comes from `stores/database.py`, which also commits."""

from alembic import context

from gnomon.stores.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
