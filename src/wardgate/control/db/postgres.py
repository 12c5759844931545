"""PostgreSQL: how connections are made, and the lock that makes one writer of many nodes.

Every connection is made here, with deadlines that keep a node that hangs from holding up the others: a transaction
that does nothing for a while is ended by the server, and whoever waits for a lock waits so long and no longer.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ...errors import WardgateError
from .address import PostgresAddress

CONNECT_S: Final = 10.0
_SETTINGS: Final = {
    "application_name": "wardgate",
    "timezone": "UTC",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "30s",
    "search_path": "public",  # of a database that is ours, never of "$user", which somebody else may make
}


class Lock(IntEnum):
    """The second half of our advisory locks' keys; the first is `_FAMILY`. Append-only."""

    WRITER = 1  # who changes what others decide by, and appends to the audit log
    JOBS = 2  # 2 and the job's name: see `jobs`


_FAMILY: Final = 0x77617264  # “ward”


async def take(connection: AsyncConnection, lock: Lock) -> None:
    """Hold `lock` until the transaction ends, waiting for whoever has it."""
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_FAMILY}, {int(lock)})"))


def connector(address: PostgresAddress) -> Callable[[], Awaitable[Any]]:
    """Makes connections of the driver; WardgateError `postgres_missing` where the driver is not installed."""
    try:
        asyncpg = importlib.import_module("asyncpg")
    except ImportError:
        raise WardgateError(
            "postgres_missing", "PostgreSQL needs the extra “postgres”: install wardgate[server,postgres]."
        ) from None
    tls = address.tls()
    password = None if address.password is None else address.password.reveal_text()

    async def connect() -> Any:
        try:
            return await asyncpg.connect(
                host=[host for host, _ in address.hosts],
                port=[port for _, port in address.hosts],
                user=address.user,
                password=password if password is not None else "",  # None would let the driver look into files
                database=address.database,
                ssl=tls if tls is not None else False,
                timeout=CONNECT_S,
                target_session_attrs="read-write",
                server_settings=_SETTINGS,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "no answer in time"
            raise WardgateError(
                "database_unavailable", f"The {address} can't be reached: {why.rstrip('.')}."
            ) from error

    return connect


def engine(address: PostgresAddress, *, size: int, read_only: bool) -> AsyncEngine:
    """A pool of `size` connections. Readers see one snapshot for each transaction and can't write."""
    options: dict[str, Any] = (
        {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        if read_only
        else {"isolation_level": "READ COMMITTED"}
    )
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(address),
        pool_size=size,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,  # they may be secrets, and an exception's text may be logged
        execution_options=options,
    )
