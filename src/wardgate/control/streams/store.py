"""Queries of streams."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit_log.model import AuditEvent
from ..db.base import UtcDateTime
from .model import StreamPositionRow, StreamRow


async def by_name(session: AsyncSession, scope: str, name: str) -> StreamRow | None:
    """The stream of that name at a place."""
    query = select(StreamRow).where(StreamRow.scope == scope, StreamRow.name == name)
    found: StreamRow | None = await session.scalar(query)
    return found


async def page(session: AsyncSession, scope: str, *, after: str | None, limit: int) -> Sequence[StreamRow]:
    """Streams of a place by id."""
    query = select(StreamRow).where(StreamRow.scope == scope).order_by(StreamRow.id).limit(limit)
    if after is not None:
        query = query.where(StreamRow.id > after)
    return list(await session.scalars(query))


async def count(session: AsyncSession, scope: str | None = None) -> int:
    """How many there are, at a place or at all."""
    query = select(func.count()).select_from(StreamRow)
    return await session.scalar(query if scope is None else query.where(StreamRow.scope == scope)) or 0


async def remove(session: AsyncSession, stream_id: str) -> None:
    """A stream and its places."""
    await session.execute(delete(StreamPositionRow).where(StreamPositionRow.stream_id == stream_id))
    await session.execute(delete(StreamRow).where(StreamRow.id == stream_id))


async def due(session: AsyncSession, now: datetime) -> list[str]:
    """The streams that may be tried now."""
    query = select(StreamRow.id).where(
        StreamRow.paused.is_(False), or_(StreamRow.next_try_at.is_(None), StreamRow.next_try_at <= now)
    )
    return list(await session.scalars(query))


async def claim(session: AsyncSession, stream_id: str, holder: str, now: datetime, until: datetime) -> bool:
    """Become the one that delivers; whether nobody else is."""
    free = or_(StreamRow.holder.is_(None), StreamRow.holder == holder, StreamRow.held_until < now)
    done = await session.execute(
        update(StreamRow)
        .where(StreamRow.id == stream_id, StreamRow.paused.is_(False), free)
        .values(holder=holder, held_until=until)
    )
    return cast("CursorResult[Any]", done).rowcount == 1


# --- places in sessions ---------------------------------------------------------------------------------------------


async def mark(
    session: AsyncSession, session_id: str, project_id: str | None, epoch: int, before: int, now: datetime
) -> None:
    """Something has arrived behind `before`, for each stream that gets it. In the transaction in which it arrives: the
    update waits for whoever just moves the same place, and what they did not see is marked behind them."""
    place = StreamPositionRow
    await session.execute(
        update(place)
        .where(place.session_id == session_id, place.epoch == epoch)
        .values(waiting=true(), since=case((place.waiting.is_(True), place.since), else_=literal(now, UtcDateTime())))
        .execution_options(synchronize_session=False)
    )
    known = exists().where(place.stream_id == StreamRow.id, place.session_id == session_id, place.epoch == epoch)
    new = select(
        StreamRow.id,
        literal(session_id),
        literal(epoch),
        literal(before),
        literal(""),
        true(),
        literal(now, UtcDateTime()),
    ).where(
        StreamRow.commands.is_(True), or_(StreamRow.project_id.is_(None), StreamRow.project_id == project_id), ~known
    )
    columns = ["stream_id", "session_id", "epoch", "seq", "pending", "waiting", "since"]
    await session.execute(insert(place).from_select(columns, new))


async def waiting(session: AsyncSession, stream_id: str, limit: int) -> Sequence[StreamPositionRow]:
    """The places with something unsent, longest first; a session's epochs in their order, its seals last."""
    place = StreamPositionRow
    query = select(place).where(place.stream_id == stream_id, place.waiting.is_(True))
    last = case((place.epoch == 0, 1), else_=0)
    return list(await session.scalars(query.order_by(place.since, place.session_id, last, place.epoch).limit(limit)))


async def waits(session: AsyncSession, stream_id: str) -> tuple[int, datetime | None]:
    """In how many sessions something is unsent, and since when."""
    place = StreamPositionRow
    query = select(func.count(place.session_id.distinct()), func.min(place.since)).where(
        place.stream_id == stream_id, place.waiting.is_(True)
    )
    number, since = (await session.execute(query)).one()
    return number, since


async def position(session: AsyncSession, stream_id: str, session_id: str, epoch: int) -> StreamPositionRow | None:
    """One place, held until the transaction ends."""
    query = select(StreamPositionRow).where(
        StreamPositionRow.stream_id == stream_id,
        StreamPositionRow.session_id == session_id,
        StreamPositionRow.epoch == epoch,
    )
    found: StreamPositionRow | None = await session.scalar(query.with_for_update())
    return found


# --- the audit log --------------------------------------------------------------------------------------------------


async def events(session: AsyncSession, row: StreamRow, limit: int) -> Sequence[AuditEvent]:
    """The next events of a stream."""
    query = select(AuditEvent).where(*_of(row)).order_by(AuditEvent.seq).limit(limit)
    return list(await session.scalars(query))


async def events_behind(session: AsyncSession, row: StreamRow) -> tuple[int, datetime | None]:
    """How many events are unsent, and when the first of them was."""
    query = select(func.count(), func.min(AuditEvent.at)).where(*_of(row))
    number, first = (await session.execute(query)).one()
    return number, first


async def newest_event(session: AsyncSession) -> int:
    """The number of the newest event."""
    return await session.scalar(select(func.max(AuditEvent.seq))) or 0


def _of(row: StreamRow) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [AuditEvent.seq > row.event_seq]
    if row.project_id is not None:
        found.append(AuditEvent.project_id == row.project_id)
    return found
