"""How Alembic reaches the database: by the connection that `db.migrate` gives it, and in no other way."""

from __future__ import annotations

from alembic import context

_attributes = context.config.attributes

context.configure(
    connection=_attributes["connection"],
    target_metadata=_attributes.get("metadata"),
    compare_type=True,
    compare_server_default=True,
    render_as_batch=True,  # SQLite changes a table by making a new one
)
with context.begin_transaction():
    context.run_migrations()
