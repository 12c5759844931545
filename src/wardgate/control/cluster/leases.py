"""Jobs that one node does for all: whoever holds a job's lease.

A lease that is not renewed runs out, and another node takes it. Law: a lease keeps two nodes from doing the same work
at once, nearly always; it is no lock. A node that was stopped in the middle may go on when another has the lease, so
every job looks again, inside its `write()` block, whether there is still something to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text

from ..db import Database

_SHORTEST_S: Final = 10.0
_TAKE: Final = text(
    "INSERT INTO job_leases (name, node, until) "
    "VALUES (:name, :node, clock_timestamp() + make_interval(secs => :seconds)) "
    "ON CONFLICT (name) DO UPDATE SET node = excluded.node, until = excluded.until "
    "WHERE job_leases.node = excluded.node OR job_leases.until < clock_timestamp() RETURNING node"
)
_LET_GO: Final = text("DELETE FROM job_leases WHERE node = :node")


class JobLeases:
    """The leases of one node."""

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self._node = node

    @asynccontextmanager
    async def held(self, name: str, every: float) -> AsyncIterator[bool]:
        """Whether the job is this node's to do, for as long as the block lasts and for a few turns after it."""
        if self._database.address is None:
            yield True
            return
        seconds = max(_SHORTEST_S, 2.5 * every)
        if not await self._take(name, seconds):
            yield False
            return
        renewing = asyncio.create_task(self._renew(name, seconds), name=f"lease {name}")
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def let_go(self) -> None:
        """Leave every job to the others at once: this node stops."""
        if self._database.address is not None:
            async with self._database.write(shared=True) as session:
                await session.execute(_LET_GO, {"node": self._node})

    async def _renew(self, name: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            if not await self._take(name, seconds):
                return

    async def _take(self, name: str, seconds: float) -> bool:
        async with self._database.write(shared=True) as session:
            values = {"name": name, "node": self._node, "seconds": seconds}
            return (await session.execute(_TAKE, values)).first() is not None
