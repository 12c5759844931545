"""Alembic's folder: the environment and the versions. `db.migrate` runs them."""
