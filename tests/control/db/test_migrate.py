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


async def test_a_gateway_of_the_first_version_is_its_own_first_instance(tmp_path: Path) -> None:
    """With all that hangs on it: the table is made anew, and nothing that points to it may be lost or refused."""
    at = "2030-01-01 00:00:00"
    found: list[tuple[object, ...]] = []

    def old(connection: Connection) -> None:
        migrate.upgrade(connection, "0001")
        for statement in (
            f"INSERT INTO projects (id, name, created_at) VALUES ('prj_a', 'shop', '{at}')",
            (
                "INSERT INTO gateways (id, project_id, name, created_at, public_key, enrolled_at, advertise) "
                f"VALUES ('gw_a', 'prj_a', 'near-db', '{at}', x'01', '{at}', 'db:1'), "
                f"('gw_b', 'prj_a', 'pending', '{at}', NULL, NULL, NULL)"
            ),
            (
                "INSERT INTO resources (id, project_id, name, gateway_id, connection_string, database, ssl, "
                "reject_unauthorized, created_at, updated_at) VALUES ('res_a', 'prj_a', 'mongo', 'gw_a', "
                f"'mongodb://db/', 'admin', 1, 1, '{at}', '{at}')"
            ),
        ):
            connection.execute(text(statement))

    def new(connection: Connection) -> None:
        migrate.upgrade(connection)
        rows = connection.execute(text("SELECT id, gateway_id, advertise FROM gateway_instances"))
        found.extend(tuple(row) for row in rows)
        found.extend(tuple(row) for row in connection.execute(text("SELECT id, gateway_id FROM resources")))
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []

    database = Database(sqlite_url(tmp_path / "wardgate.db"))
    await database.run(old)
    await database.run(new)
    await database.close()
    assert found == [("gw_a", "gw_a", "db:1"), ("res_a", "gw_a")]
