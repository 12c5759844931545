"""The migrations lead to the models, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from wardgate.control import schema
from wardgate.control.db import Database, migrate
from wardgate.control.db.engine import sqlite_url
from wardgate.errors import WardgateError


async def test_the_migrations_lead_to_the_models(tmp_path: Path) -> None:
    found: list[object] = []

    def work(connection: Connection) -> None:
        migrate.upgrade(connection)
        migrate.upgrade(connection)  # a second time changes nothing
        found.extend(migrate.differences(connection, schema.metadata()))

    database = Database(sqlite_url(tmp_path / "wardgate.db"))
    await database.run(work)
    await database.close()
    assert found == [], "run tools/write_migration.py with the next number, as 0002, and a message"


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    def spoil(connection: Connection) -> None:
        migrate.upgrade(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    database = Database(sqlite_url(tmp_path / "wardgate.db"))
    await database.run(spoil)
    with pytest.raises(WardgateError, match="newer wardgate"):
        await database.run(migrate.upgrade)
    await database.close()
