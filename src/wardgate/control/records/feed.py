"""Records for those who pass them on: what came since, in the order of its epoch.

A watcher is told of everything that arrives, in the transaction in which it arrives, so that it can note that there is
something and miss nothing. What is read here was judged and stored before; who may have it is the reader's question.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import Record
from ..access.places import RecordPlace, SessionDirectory
from ..db import Database
from . import reading
from .model import RecordEpochRow, RecordRow, RecordSealRow
from .paging import COMMANDS, LogPages

# (session, session id, project, epoch or 0 for seals, what was there before)
Watcher = Callable[[AsyncSession, str, str | None, int, int], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class SealFacts:
    """A seal as it is passed on; statement and signature in base64."""

    number: int
    final: bool
    at: datetime
    statement: str
    signature: str
    key_id: str


class Feed:
    """Tells of arrivals and reads what arrived."""

    def __init__(self, database: Database, directory: SessionDirectory, pages: LogPages) -> None:
        self._database = database
        self._directory = directory
        self._pages = pages
        self.watchers: list[Watcher] = []

    async def arrived(
        self, session: AsyncSession, session_id: str, project_id: str | None, epoch: int, before: int
    ) -> None:
        """Frames of an epoch behind the sequence number `before` are written in this transaction."""
        for watcher in self.watchers:
            await watcher(session, session_id, project_id, epoch, before)

    async def sealed(self, session: AsyncSession, session_id: str, number: int) -> None:
        """A seal is written in this transaction."""
        if self.watchers:
            place = await self._directory.record_place(session, session_id)
            await self.arrived(session, session_id, place.scope.project_id if place else None, 0, number - 1)

    async def place(self, session: AsyncSession, session_id: str) -> RecordPlace | None:
        """Whose session it is."""
        return await self._directory.record_place(session, session_id)

    async def lines(self, session_id: str, epoch: int, after: int, limit: int, *, bodies: bool) -> list[Record]:
        """The lines of an epoch behind `after`; fewer than `limit` where bodies are large, none only at the end."""
        condition = (RecordRow.session_id == session_id, RecordRow.epoch == epoch, RecordRow.seq > after)
        query = select(RecordRow).where(*condition).order_by(RecordRow.seq).limit(limit)
        async with self._database.read() as session:
            rows = list(await session.scalars(query))
            shown = await self._pages.bodies(session, session_id, rows) if bodies else {}
        return await asyncio.to_thread(_described, rows, shown.get(epoch))

    async def commands(self, session_id: str, epoch: int, seqs: Sequence[int]) -> list[Record]:
        """These lines as they stand now, without bodies."""
        query = select(RecordRow).where(
            RecordRow.session_id == session_id, RecordRow.epoch == epoch, RecordRow.seq.in_(seqs)
        )
        async with self._database.read() as session:
            return [reading.describe(row, None) for row in await session.scalars(query.order_by(RecordRow.seq))]

    async def seals(self, session: AsyncSession, session_id: str, after: int, limit: int) -> list[SealFacts]:
        """The seals of a session behind the number `after`."""
        condition = (RecordSealRow.session_id == session_id, RecordSealRow.number > after)
        query = select(RecordSealRow).where(*condition).order_by(RecordSealRow.number).limit(limit)
        return [
            SealFacts(
                row.number,
                row.final,
                row.sealed_at,
                base64.b64encode(row.statement).decode(),
                base64.b64encode(row.signature).decode(),
                row.key_id,
            )
            for row in await session.scalars(query)
        ]

    async def has_more(self, session: AsyncSession, session_id: str, epoch: int, after: int) -> bool:
        """Whether a line (for epoch 0: a seal) is behind `after`."""
        if epoch == 0:
            return bool(await self.seals(session, session_id, after, 1))
        condition = (RecordRow.session_id == session_id, RecordRow.epoch == epoch, RecordRow.seq > after)
        return await session.scalar(select(RecordRow.seq).where(*condition).limit(1)) is not None

    async def is_closed(self, session: AsyncSession, session_id: str, epoch: int) -> bool:
        """Whether nothing more will come of an epoch (for epoch 0: no seal)."""
        if epoch == 0:
            final = (RecordSealRow.session_id == session_id, RecordSealRow.final.is_(True))
            return await session.scalar(select(RecordSealRow.number).where(*final).limit(1)) is not None
        row = await session.get(RecordEpochRow, (session_id, epoch))
        return row is None or row.closed or row.deleted_at is not None


def _described(rows: Sequence[RecordRow], bodies: reading.Bodies | None) -> list[Record]:
    found, size = [], 0
    for row in rows:
        body = None
        if bodies is not None and row.kind in COMMANDS:
            body, length = bodies.body(row.seq)
            size += length
        found.append(reading.describe(row, body))
        if size >= reading.PAGE_BODY_BYTES:
            break
    return found
