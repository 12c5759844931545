"""Which nodes run now, and which master keys each of them has: what a rotation must know before it begins."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ... import __version__
from ..db import Database
from ..sources import Sources
from .model import NodeRow

BEAT_S: Final = 5.0
_ALIVE: Final = timedelta(seconds=20)
_KEPT: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Node:
    """One that runs."""

    id: str
    host: str
    version: str
    master_keys: frozenset[str]
    started_at: datetime


class Nodes:
    """The register. On an embedded database it has one entry, which is not written down."""

    def __init__(self, database: Database, sources: Sources, node: str, keys: Callable[[], Sequence[str]]) -> None:
        """`keys` gives the ids of the master keys that this node has now."""
        self._database = database
        self._sources = sources
        self._keys = keys
        self._started_at = sources.now()
        self.node = node

    async def beat(self) -> None:
        """Say that this node is there; run every few seconds."""
        if self._database.address is None:
            return
        now = self._sources.now()
        async with self._database.write(shared=True) as session:
            row = await session.get(NodeRow, self.node)
            if row is None:
                row = NodeRow(
                    id=self.node,
                    host=socket.gethostname(),
                    version=__version__,
                    started_at=self._started_at,
                    seen_at=now,
                )
                row.master_keys = []
                session.add(row)
            row.seen_at, row.master_keys = now, list(self._keys())
            await session.execute(delete(NodeRow).where(NodeRow.seen_at < now - _KEPT))

    async def leave(self) -> None:
        """This node stops."""
        if self._database.address is not None:
            async with self._database.write(shared=True) as session:
                await session.execute(delete(NodeRow).where(NodeRow.id == self.node))

    async def alive(self, session: AsyncSession) -> list[Node]:
        """Every node that was seen lately, this one among them."""
        ours = Node(self.node, socket.gethostname(), __version__, frozenset(self._keys()), self._started_at)
        if self._database.address is None:
            return [ours]
        query = select(NodeRow).where(NodeRow.seen_at > self._sources.now() - _ALIVE, NodeRow.id != self.node)
        others = [
            Node(row.id, row.host, row.version, frozenset(row.master_keys), row.started_at)
            for row in await session.scalars(query.order_by(NodeRow.id))
        ]
        return [ours, *others]
