"""Queries of records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, func, insert, or_, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...audit.records import CommandOutcome
from .model import RecordBatchRow, RecordEpochRow, RecordRow, RecordSealRow
from .rows import Row


async def epoch(session: AsyncSession, session_id: str, number: int) -> RecordEpochRow | None:
    """How far one epoch has come."""
    return await session.get(RecordEpochRow, (session_id, number))


async def epochs(session: AsyncSession, session_id: str) -> Sequence[RecordEpochRow]:
    """All of a session, in order."""
    query = select(RecordEpochRow).where(RecordEpochRow.session_id == session_id).order_by(RecordEpochRow.epoch)
    return list(await session.scalars(query))


async def unsealed(session: AsyncSession, before: datetime, limit: int) -> list[str]:
    """Sessions with frames that no seal covers, and whose last seal is older than `before`."""
    stale = or_(RecordEpochRow.sealed_at.is_(None), RecordEpochRow.sealed_at < before)
    query = (
        select(RecordEpochRow.session_id)
        .where(RecordEpochRow.seq > RecordEpochRow.sealed_seq, stale, RecordEpochRow.alarm.is_(None))
        .distinct()
        .limit(limit)
    )
    return list(await session.scalars(query))


async def batches(
    session: AsyncSession, session_id: str, number: int, first: int = 0, last: int | None = None
) -> Sequence[RecordBatchRow]:
    """The objects that hold frames `first` to `last` (None: to the end) of an epoch, in order."""
    query = (
        select(RecordBatchRow)
        .where(
            RecordBatchRow.session_id == session_id,
            RecordBatchRow.epoch == number,
            RecordBatchRow.last_seq >= first,
            RecordBatchRow.first_seq <= last if last is not None else true(),
        )
        .order_by(RecordBatchRow.first_seq)
    )
    return list(await session.scalars(query))


async def insert_rows(session: AsyncSession, rows: Iterable[Row]) -> None:
    """Add lines of the log."""
    values = list(rows)
    if values:
        await session.execute(insert(RecordRow), values)


async def merge_outcome(session: AsyncSession, session_id: str, number: int, outcome: CommandOutcome) -> None:
    """Merge an outcome into the row of an intent that arrived earlier; see `rows.merge`."""
    values: dict[str, object] = {
        "ok": outcome.ok,
        "code": outcome.code,
        "bytes_out": func.coalesce(RecordRow.bytes_out, 0) + outcome.bytes_out,
        "duration_us": outcome.duration_us,
        "unacknowledged": outcome.unacknowledged or None,
        "error": outcome.error,
    }
    if outcome.documents is not None:
        values["documents"] = func.coalesce(RecordRow.documents, 0) + outcome.documents
    await session.execute(
        update(RecordRow)
        .where(RecordRow.session_id == session_id, RecordRow.epoch == number, RecordRow.seq == outcome.intent_seq)
        .values(values)
    )


async def page(
    session: AsyncSession, session_id: str, after: tuple[int, int] | None, limit: int
) -> Sequence[RecordRow]:
    """Lines of a session's log behind `after` (epoch, sequence number)."""
    place = tuple_(RecordRow.epoch, RecordRow.seq)
    query = (
        select(RecordRow)
        .where(RecordRow.session_id == session_id, place > after if after is not None else true())
        .order_by(RecordRow.epoch, RecordRow.seq)
        .limit(limit)
    )
    return list(await session.scalars(query))


async def seals(session: AsyncSession, session_id: str) -> Sequence[RecordSealRow]:
    """Every seal of a session, oldest first."""
    query = select(RecordSealRow).where(RecordSealRow.session_id == session_id).order_by(RecordSealRow.number)
    return list(await session.scalars(query))


async def mark_sealed(session: AsyncSession, session_id: str, number: int, seq: int, at: datetime) -> None:
    """A seal covers the epoch up to `seq`."""
    await session.execute(
        update(RecordEpochRow)
        .where(and_(RecordEpochRow.session_id == session_id, RecordEpochRow.epoch == number))
        .values(sealed_seq=seq, sealed_at=at)
    )
