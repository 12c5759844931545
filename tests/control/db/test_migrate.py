"""The migrations lead to the models, and nowhere else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, LargeBinary, MetaData, Table, insert, inspect, text
from sqlalchemy.types import JSON, Boolean, DateTime, Float, Integer

from wardgate.control import schema
from wardgate.control.db import Database, migrate
from wardgate.control.db.engine import sqlite_url
from wardgate.errors import WardgateError


async def test_the_migrations_lead_to_the_models(database_url: str) -> None:
    found: list[object] = []

    def work(connection: Connection) -> None:
        migrate.upgrade(connection)
        migrate.upgrade(connection)  # a second time changes nothing
        found.extend(migrate.differences(connection, schema.metadata()))

    database = Database(database_url)
    await database.run(work)
    await database.close()
    assert found == [], "run tools/write_migration.py with the next number, as 0002, and a message"


async def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    def spoil(connection: Connection) -> None:
        migrate.upgrade(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    database = Database(database_url)
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


# Columns that name another table's row without a foreign key, because they may outlive it.
_NAMED = {"session_id": "sessions.id", "user_id": "users.id", "machine_id": "gateways.id"}


def _value(table: Table, name: str) -> Any:
    column = table.columns[name]
    for key in column.foreign_keys:
        return key.target_fullname
    for kind, value in (
        (Boolean, True),
        (Integer, 1),
        (Float, 1.0),
        (DateTime, _AT),
        (LargeBinary, b"\1"),
        (JSON, {"a": 1}),
    ):
        if isinstance(column.type, kind):
            return value
    return _NAMED.get(name, f"{table.name}.{name}")


_AT = datetime(2030, 1, 1, tzinfo=UTC)


def _rows(connection: Connection, names: dict[str, list[str]]) -> dict[str, list[dict[str, object]]]:
    """What those tables hold in those of the columns that are there."""
    found = {}
    for table, columns in names.items():
        there = {column["name"] for column in inspect(connection).get_columns(table)}
        chosen = ", ".join(f'"{name}"' for name in columns if name in there)
        rows = connection.execute(text(f"SELECT {chosen} FROM {table}")).mappings()
        found[table] = [dict(row) for row in rows]
    return found


def _indices(connection: Connection) -> dict[str, str]:
    """Every index as it was made, with the condition of a partial one, which no comparison of models looks at."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))
    return {name: re.sub(r'["\s]+', " ", sql) for name, sql in rows if name != "alembic_version_pkc"}


async def test_a_filled_database_of_the_first_version_loses_nothing(database_url: str, tmp_path: Path) -> None:
    """A row in every table: all of it is there afterwards, but for what moved to another table."""
    before: dict[str, list[dict[str, object]]] = {}
    after: dict[str, list[dict[str, object]]] = {}
    upgraded: dict[str, str] = {}
    fresh: dict[str, str] = {}

    def old(connection: Connection) -> None:
        migrate.upgrade(connection, "0001")
        metadata = MetaData()
        metadata.reflect(connection)
        tables = [table for table in metadata.sorted_tables if table.name != "alembic_version"]
        for table in tables:
            row = {column.name: _value(table, column.name) for column in table.columns}
            connection.execute(insert(table).values(row))
        before.update(_rows(connection, {table.name: [c.name for c in table.columns] for table in tables}))

    def new(connection: Connection) -> None:
        migrate.upgrade(connection)
        after.update(_rows(connection, {table: list(rows[0]) for table, rows in before.items()}))
        if connection.dialect.name == "sqlite":
            upgraded.update(_indices(connection))
        moved = connection.execute(text("SELECT * FROM gateway_instances")).mappings().one()
        assert {name: moved[name] for name in before["gateways"][0] if name in moved and name != "revoked_at"} == {
            name: value for name, value in before["gateways"][0].items() if name in moved and name != "revoked_at"
        }
        place = connection.execute(
            text("SELECT record_places.id, project, sessions.id FROM record_places, sessions")
        ).one()
        record = connection.execute(text("SELECT place, project, session_id FROM records")).one()
        assert tuple(place) == tuple(record) == (1, 1, "sessions.id")

    database = Database(database_url)
    await database.run(old)
    await database.run(new)
    await database.close()
    assert len(before) == 21
    for table, rows in before.items():
        assert after[table] == [{name: row[name] for name in after[table][0]} for row in rows], table
        assert table == "gateways" or after[table][0].keys() == rows[0].keys()

    if database.address is not None:
        return  # its indices are compared with the models' where the migrations are: see the first test
    other = Database(sqlite_url(tmp_path / "fresh.db"))
    await other.run(schema.metadata().create_all)
    await other.run(lambda connection: fresh.update(_indices(connection)))
    await other.close()
    assert upgraded == fresh
