"""Deleting what need not be kept any longer: the one place where records are deleted.

A session goes as a whole, once it has ended longer ago than its project keeps records, and never under a legal hold.
First the event, with the heads of its chains, in one transaction with the mark that deletion has begun; then object by
object, each with its rows; then the mark that it is done. A crash in between is gone on from; a hold that is set in
between stops it, and what is left stays. What stays is the
session's own row, the epochs and the seals: that there was a session, and which bytes its record had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..access.places import SessionDirectory
from ..audit_log import AuditLog, Event
from ..audit_log.log import SYSTEM
from ..db import Database
from ..projects.keeping import RecordKeeping
from ..projects.keeping import Retention as Keep
from ..sources import Sources
from . import store
from .model import RecordBatchRow, RecordEpochRow, RecordPlaceRow, RecordRow
from .stored import Batches

_SESSIONS: Final = 100  # looked at for each project in one turn


class Retention:
    """Deletes."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        directory: SessionDirectory,
        objects: Batches,
        keeping: RecordKeeping,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._directory = directory
        self._objects = objects
        self._keeping = keeping

    async def sweep(self) -> None:
        """Begin what is due, and go on with what has begun."""
        async with self._database.read() as session:
            limited = await self._keeping.limited(session)
        for keep in limited:
            async with self._database.read() as session:
                due = await self._due(session, keep)
            for session_id in due:
                await self._begin(session_id, keep.project_id)
        async with self._database.read() as session:
            begun = select(RecordEpochRow.session_id).where(RecordEpochRow.deleting.is_(True)).distinct()
            under_way = list(await session.scalars(begun))
        for session_id in under_way:
            await self._go_on(session_id)

    async def _due(self, session: AsyncSession, keep: Keep) -> list[str]:
        """Sessions of a project with old lines, all of which ended long enough ago."""
        before = self._sources.now() - keep.keep
        project = await session.scalar(
            select(RecordPlaceRow.project).where(RecordPlaceRow.project_id == keep.project_id).limit(1)
        )
        old = select(RecordRow.session_id).where(RecordRow.project == project, RecordRow.at < before)
        found = list(await session.scalars(old.distinct().limit(_SESSIONS)))
        return [session_id for session_id in found if await self._is_over(session, session_id, before)]

    async def _is_over(self, session: AsyncSession, session_id: str, before: datetime) -> bool:
        """Whether the session ended before that moment, or is unknown."""
        place = await self._directory.record_place(session, session_id)
        return place is None or (place.ended_at is not None and place.ended_at < before)

    async def _begin(self, session_id: str, project_id: str) -> None:
        """Say it, and mark it: in one transaction, which looks again whether it may."""
        async with self._database.write() as session:
            keep = await self._keeping.retention(session, project_id)
            if keep is None or not await self._is_over(session, session_id, self._sources.now() - keep.keep):
                return
            epochs = await store.epochs(session, session_id)
            if all(row.deleted_at is not None for row in epochs):
                return
            await self._audit_log.append(
                session,
                SYSTEM,
                Event.RECORDS_DELETED,
                session_id,
                project_id=project_id,
                details={
                    "retention_days": keep.keep.days,
                    "heads": [{"epoch": row.epoch, "seq": row.seq, "hash": row.hash.hex()} for row in epochs],
                },
            )
            await session.execute(
                update(RecordEpochRow)
                .where(RecordEpochRow.session_id == session_id)
                .values(deleted_at=self._sources.now(), deleting=True)
            )

    async def _go_on(self, session_id: str) -> None:
        async with self._database.read() as session:
            query = select(RecordBatchRow).where(RecordBatchRow.session_id == session_id)
            batches = list(await session.scalars(query.order_by(RecordBatchRow.epoch, RecordBatchRow.first_seq)))
        for batch in batches:
            if await self._is_held(session_id):
                return  # what is left of it stays until the hold is lifted
            await asyncio.to_thread(self._objects.delete, batch.name)
            async with self._database.write() as session:
                await _forget(session, batch)
        async with self._database.write() as session:
            await session.execute(delete(RecordRow).where(RecordRow.session_id == session_id))
            await session.execute(
                update(RecordEpochRow).where(RecordEpochRow.session_id == session_id).values(deleting=False)
            )

    async def _is_held(self, session_id: str) -> bool:
        async with self._database.read() as session:
            place = await self._directory.record_place(session, session_id)
            return place is not None and await self._keeping.is_held(session, place.scope.project_id or "")


async def _forget(session: AsyncSession, batch: RecordBatchRow) -> None:
    """An object's row and the lines that were made of it."""
    await session.execute(
        delete(RecordRow).where(
            RecordRow.session_id == batch.session_id,
            RecordRow.epoch == batch.epoch,
            RecordRow.seq.between(batch.first_seq, batch.last_seq),
        )
    )
    await session.execute(
        delete(RecordBatchRow).where(
            RecordBatchRow.session_id == batch.session_id,
            RecordBatchRow.epoch == batch.epoch,
            RecordBatchRow.first_seq == batch.first_seq,
        )
    )


def deleted_at(epochs: Sequence[RecordEpochRow]) -> datetime | None:
    """When a session's records were deleted; None if they were not."""
    return next((row.deleted_at for row in epochs if row.deleted_at is not None), None)
