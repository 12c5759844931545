"""The one road to the database.

On SQLite there is exactly one connection that writes; the others are `query_only`. Two reasons: SQLite before 3.51.3
can corrupt a WAL database when two connections write and checkpoint at once, and one writer that queues in this
process never meets SQLITE_BUSY.

On PostgreSQL, which several nodes share, a `write()` block begins by taking the writers' lock, so that here too one
block runs at a time, wherever it runs (docs/adr/0021): what it has read stays true until it commits, and the audit
log's chain, which nearly every block goes on with, has one end. `write(shared=True)` takes no such lock: for frequent
work that guards itself (by row locks, by conditions in its statements) and appends no event.

Law: everything that must be true together is written inside one `write()` block; it commits when the block ends and
rolls back when it raises. What a block decides by, it reads itself. What must happen only after the commit (waking
somebody) comes after the block. Blocks don't nest, and nothing slow (network, password hashing) happens inside one: the
whole control plane waits behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from . import postgres
from .address import SCHEMES, PostgresAddress

_READERS = 4
_POSTGRES_READERS = 8
_POSTGRES_WRITERS = 4  # one that has or awaits the writers' lock, the others for shared blocks
SHARED = "wardgate.shared"  # in a session's info: whether other blocks may be running beside it
_BUSY_MS = 5_000  # only a backup tool or a person's sqlite3 can hold the file: wait for them that long


def sqlite_url(path: Path) -> str:
    """The URL of the embedded database at `path`."""
    return f"sqlite+aiosqlite:///{path}"


class Database:
    """Opened with `Database(url)`, closed with `close()`; no connection is made before it is used."""

    def __init__(self, url: str) -> None:
        self._turn = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        self.address: PostgresAddress | None = None  # None: it is SQLite's
        if url.startswith(SCHEMES):
            self.address = PostgresAddress.parse(url)
            self._writer = postgres.engine(self.address, size=_POSTGRES_WRITERS, read_only=False)
            self._reader = postgres.engine(self.address, size=_POSTGRES_READERS, read_only=True)
        else:
            self._writer = _sqlite(url, size=1, query_only=False)
            self._reader = _sqlite(url, size=_READERS, query_only=True)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session on one consistent snapshot; whatever is changed in it is refused by the database."""
        async with AsyncSession(self._reader, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self, *, shared: bool = False) -> AsyncIterator[AsyncSession]:
        """The writer's session: committed at the end of the block, rolled back by an exception.

        With `shared`, other blocks run beside it on PostgreSQL (never on SQLite).
        """
        task = asyncio.current_task()
        if task is not None and self._holder is task:
            raise RuntimeError("write() blocks do not nest: pass the session on instead")
        if shared and self.address is not None:
            async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                session.info[SHARED] = True
                yield session
            return
        async with self._turn:
            self._holder = task
            try:
                async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                    session.info[SHARED] = shared
                    if self.address is not None:
                        await postgres.take(await session.connection(), postgres.Lock.WRITER)
                    yield session
            finally:
                self._holder = None

    async def run(self, work: Callable[[Connection], None]) -> None:
        """Run synchronous `work` in one transaction of the writer: migrations, and tables for tests.

        SQLite changes a table by making a new one in its place, for a moment without what others point to: so keys are
        not watched meanwhile, and all of them are checked before the commit.
        """
        async with self._turn, self._writer.connect() as connection:
            await _watch_keys(connection, False)
            try:
                async with connection.begin():
                    if self.address is not None:
                        # A node that starts while another one migrates waits for it, however long that takes.
                        await connection.execute(text("SET LOCAL lock_timeout = 0"))
                        await postgres.take(connection, postgres.Lock.WRITER)
                    await connection.run_sync(work)
                    await connection.run_sync(_check_keys)
            finally:
                await _watch_keys(connection, True)

    async def close(self) -> None:
        """Close every connection, the readers first: the last one to close a WAL database writes its checkpoint."""
        await self._reader.dispose()
        await self._writer.dispose()


async def _watch_keys(connection: AsyncConnection, on: bool) -> None:
    """Outside of a transaction, where alone SQLite heeds it; through the driver, so that none is begun."""
    if connection.dialect.name == "sqlite":
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(f"PRAGMA foreign_keys={'ON' if on else 'OFF'}")


def _check_keys(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise RuntimeError(f"the change would leave rows that point nowhere, in {tables}")


class _HintingCompiler(SQLiteCompiler):
    """Writes a query's hint (`INDEXED BY …`) behind its table, which the stock compiler leaves out: without statistics
    SQLite's planner takes the first index that fits, and only the query's author knows the best one."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:
        """The hint as it was given."""
        return text


def _sqlite(url: str, *, size: int, query_only: bool) -> AsyncEngine:
    engine = create_async_engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=size, max_overflow=0)
    engine.dialect.statement_compiler = _HintingCompiler
    begin = "BEGIN" if query_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own, implicit BEGIN would come too late to be IMMEDIATE
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
