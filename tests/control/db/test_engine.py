"""One writer, readers that can't write, and transactions that are all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError, StatementError

from wardgate.control.db import Base, Database
from wardgate.control.db.engine import sqlite_url
from wardgate.control.projects.model import ProjectRow

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(sqlite_url(tmp_path / "wardgate.db"))
    await database.run(Base.metadata.create_all)
    yield database
    await database.close()


def row(name: str, at: datetime = NOW) -> ProjectRow:
    return ProjectRow(id=f"prj_{name}", name=name, created_at=at)


async def names(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.scalars(select(ProjectRow.name).order_by(ProjectRow.name)))


async def test_pragmas_hold_on_both_roads(database: Database) -> None:
    for road, query_only in ((database.read, 1), (database.write, 0)):
        async with road() as session:
            got = [await session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]
            assert got == ["wal", 2]
            assert await session.scalar(text("PRAGMA foreign_keys")) == 1
            assert await session.scalar(text("PRAGMA query_only")) == query_only


async def test_a_write_commits_at_its_end_and_is_undone_by_an_exception(database: Database) -> None:
    async with database.write() as session:
        session.add(row("kept"))
    with suppress(LookupError):
        async with database.write() as session:
            session.add(row("lost"))
            await session.flush()
            raise LookupError
    assert await names(database) == ["kept"]


async def test_a_reader_can_not_write(database: Database) -> None:
    async with database.read() as session:
        session.add(row("no"))
        with pytest.raises(OperationalError, match="readonly"):
            await session.flush()


async def test_a_reader_sees_one_snapshot(database: Database) -> None:
    async with database.read() as session:
        before = list(await session.scalars(select(ProjectRow.name)))
        async with database.write() as writer:
            writer.add(row("later"))
        assert list(await session.scalars(select(ProjectRow.name))) == before == []


async def test_writers_take_turns(database: Database) -> None:
    async def add(number: int) -> None:
        async with database.write() as session:
            count = len(list(await session.scalars(select(ProjectRow))))
            session.add(row(f"n{count}"))

    await asyncio.gather(*(add(number) for number in range(20)))
    assert len(await names(database)) == 20


async def test_nested_writes_are_refused_instead_of_waiting_for_themselves(database: Database) -> None:
    async with database.write():
        with pytest.raises(RuntimeError, match="do not nest"):
            async with database.write():
                pass


async def test_a_cancelled_write_frees_the_writer(database: Database) -> None:
    inside = asyncio.Event()

    async def forever() -> None:
        async with database.write() as session:
            session.add(row("lost"))
            await session.flush()
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as session:
        session.add(row("kept"))
    assert await names(database) == ["kept"]


async def test_times_are_aware_and_utc_on_both_sides(database: Database) -> None:
    async with database.write() as session:
        session.add(row("east", NOW.astimezone(timezone(timedelta(hours=9)))))
    async with database.read() as session:
        found = (await session.scalars(select(ProjectRow))).one()
    assert found.created_at == NOW
    assert found.created_at.tzinfo is UTC
    with pytest.raises(StatementError, match="naive"):
        async with database.write() as session:
            session.add(row("naive", datetime(2030, 1, 1)))  # noqa: DTZ001
