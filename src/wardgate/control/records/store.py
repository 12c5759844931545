"""Queries of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CursorResult,
    Table,
    and_,
    bindparam,
    case,
    false,
    func,
    insert,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy import Row as Row_
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.audit import LogFilter
from ...audit.chain import Link
from ...audit.records import CommandOutcome
from .facts import Outcome
from .ingest import Known
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


class Moved(Exception):  # noqa: N818 - it is what was found, not what failed
    """The epoch does not stand where it was thought to stand."""


async def begin(session: AsyncSession, known: Known, size: int) -> None:
    """The first frames of an epoch are here."""
    link = _linked(known)
    values = {
        "session_id": known.session_id,
        "epoch": known.epoch,
        "gateway_id": known.gateway_id,
        "audit_key_id": known.audit_key_id,
        "sealed_key": known.sealed_key,
        "head_hash": known.head_hash,
        "seq": link.seq,
        "hash": link.hash,
        "size": size,
        "closed": known.closed,
        "sealed_seq": -1,
    }
    await session.execute(_BEGIN, values)


async def advance(session: AsyncSession, before: Known, after: Known, size: int) -> None:
    """`size` bytes more of an epoch are here; Moved unless it stood at `before`, without an alarm and not deleted."""
    old, new = _linked(before), _linked(after)
    values = {
        "of_session": before.session_id,
        "of_epoch": before.epoch,
        "old_seq": old.seq,
        "old_hash": old.hash,
        "new_seq": new.seq,
        "new_hash": new.hash,
        "more": size,
        "is_closed": after.closed,
    }
    found = cast("CursorResult[Any]", await session.execute(_ADVANCE, values))
    if found.rowcount != 1:
        raise Moved


async def add_batch(session: AsyncSession, batch: Mapping[str, object]) -> None:
    """Note a stored object."""
    await session.execute(_ADD_BATCH, batch)


async def add_rows(session: AsyncSession, rows: Sequence[Row]) -> None:
    """Add lines of the log."""
    if rows:
        await session.execute(_ADD_ROWS, rows)


async def conclude(
    session: AsyncSession, session_id: str, number: int, outcomes: Sequence[CommandOutcome | Outcome]
) -> None:
    """Merge outcomes into the rows of intents that arrived earlier; see `rows.merge`."""
    values = [
        {
            "of_session": session_id,
            "of_epoch": number,
            "of_seq": outcome.intent_seq,
            "ok": outcome.ok,
            "code": outcome.code,
            "more_documents": outcome.documents,
            "more_bytes": outcome.bytes_out,
            "duration_us": outcome.duration_us,
            "unacknowledged": outcome.unacknowledged or None,
            "error": outcome.error,
            "modified": outcome.modified,
            "upserted": outcome.upserted,
            "write_errors": outcome.write_errors or None,
        }
        for outcome in outcomes
    ]
    if values:
        # On the connection: what the session would make of a list of parameters is an update of entities.
        await (await session.connection()).execute(_CONCLUDE, values)


async def effects(session: AsyncSession, session_id: str, number: int, seqs: Sequence[int]) -> dict[int, str | None]:
    """What these commands do, by their sequence numbers."""
    found: dict[int, str | None] = {}
    for start in range(0, len(seqs), _AT_ONCE):
        wanted = _ROWS.c.seq.in_(seqs[start : start + _AT_ONCE])
        query = select(_ROWS.c.seq, _ROWS.c.effect).where(
            _ROWS.c.session_id == session_id, _ROWS.c.epoch == number, wanted
        )
        found.update((row.seq, row.effect) for row in await session.execute(query))
    return found


def _linked(known: Known) -> Link:
    assert known.link is not None
    return known.link


# Built once: they run for every batch that arrives. On tables, not on entities: no objects are made of the rows.
_AT_ONCE = 500  # values in one list
_EPOCHS = cast("Table", RecordEpochRow.__table__)
_ROWS = cast("Table", RecordRow.__table__)
_BEGIN = insert(_EPOCHS)
_ADVANCE = (
    update(_EPOCHS)
    .where(
        _EPOCHS.c.session_id == bindparam("of_session"),
        _EPOCHS.c.epoch == bindparam("of_epoch"),
        _EPOCHS.c.seq == bindparam("old_seq"),
        _EPOCHS.c.hash == bindparam("old_hash"),
        _EPOCHS.c.alarm.is_(None),
        _EPOCHS.c.deleted_at.is_(None),
    )
    .values(
        seq=bindparam("new_seq"),
        hash=bindparam("new_hash"),
        size=_EPOCHS.c.size + bindparam("more"),
        closed=bindparam("is_closed"),
    )
)
_ADD_BATCH = insert(cast("Table", RecordBatchRow.__table__))
_ADD_ROWS = insert(_ROWS)
_CONCLUDE = (
    update(_ROWS)
    .where(
        _ROWS.c.session_id == bindparam("of_session"),
        _ROWS.c.epoch == bindparam("of_epoch"),
        _ROWS.c.seq == bindparam("of_seq"),
    )
    .values(
        ok=bindparam("ok"),
        code=bindparam("code"),
        # null adds nothing, not even a zero
        documents=func.coalesce(func.coalesce(_ROWS.c.documents, 0) + bindparam("more_documents"), _ROWS.c.documents),
        bytes_out=func.coalesce(_ROWS.c.bytes_out, 0) + bindparam("more_bytes"),
        duration_us=bindparam("duration_us"),
        unacknowledged=bindparam("unacknowledged"),
        error=bindparam("error"),
        modified=bindparam("modified"),
        upserted=bindparam("upserted"),
        write_errors=bindparam("write_errors"),
    )
)


async def page(
    session: AsyncSession, session_id: str, after: tuple[int, int] | None, limit: int, asked: LogFilter | None = None
) -> Sequence[RecordRow]:
    """Lines of a session's log behind `after` (epoch, sequence number)."""
    place = tuple_(RecordRow.epoch, RecordRow.seq)
    query = (
        select(RecordRow)
        .where(RecordRow.session_id == session_id, place > after if after is not None else true(), *_only(asked))
        .order_by(RecordRow.epoch, RecordRow.seq)
        .limit(limit)
    )
    return list(await session.scalars(query))


def _only(asked: LogFilter | None) -> list[ColumnElement[bool]]:
    if asked is None:
        return []
    names = ("kind", "database", "collection", "command", "effect")
    values = [(getattr(RecordRow, name), getattr(asked, name)) for name in names]
    found: list[ColumnElement[bool]] = [column == value for column, value in values if value is not None]
    if asked.failed:
        found.append(RecordRow.ok == 0)
    return found


async def stretches(session: AsyncSession, session_id: str, number: int, width: int) -> Sequence[Row_[Any]]:
    """What the commands of an epoch add up to, in stretches of `width` sequence numbers, in order."""
    part = (_ROWS.c.seq / bindparam("width", width, type_=BigInteger())).label("part")
    bad = or_(_ROWS.c.ok == 0, _ROWS.c.kind == "denied")
    query = (
        select(
            part,
            func.min(_ROWS.c.at).label("first"),
            func.max(_ROWS.c.at).label("last"),
            func.count().label("commands"),
            func.sum(case((bad, 1), else_=0)).label("errors"),
            func.avg(_ROWS.c.duration_us).label("mean"),
            func.max(_ROWS.c.duration_us).label("longest"),
        )
        .where(_ROWS.c.session_id == session_id, _ROWS.c.epoch == number, _ROWS.c.kind.in_(("command", "denied")))
        .group_by(part)
        .order_by(part)
    )
    return (await session.execute(query)).all()


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


async def count_rows(session: AsyncSession, session_id: str) -> int:
    """How many lines a session's log has."""
    return await session.scalar(select(func.count()).select_from(_ROWS).where(_ROWS.c.session_id == session_id)) or 0


async def row_beyond(session: AsyncSession, session_id: str, ends: Mapping[int, int]) -> tuple[int, int] | None:
    """The first line (epoch, sequence number) that lies in no epoch, `ends` being their last sequence numbers."""
    inside = or_(false(), *(and_(_ROWS.c.epoch == number, _ROWS.c.seq.between(0, seq)) for number, seq in ends.items()))
    query = select(_ROWS.c.epoch, _ROWS.c.seq).where(_ROWS.c.session_id == session_id, ~inside)
    row = (await session.execute(query.order_by(_ROWS.c.epoch, _ROWS.c.seq).limit(1))).first()
    return None if row is None else (row.epoch, row.seq)


async def read_further(
    session: AsyncSession, session_id: str, number: int, seqs: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """For those of these commands that opened a cursor which was read further: the documents that came later, and how
    many times somebody asked for more."""
    query = (
        select(_ROWS.c.continues, func.coalesce(func.sum(_ROWS.c.documents), 0), func.count())
        .with_hint(_ROWS, "INDEXED BY ix_records_continues", "sqlite")
        .where(_ROWS.c.session_id == session_id, _ROWS.c.epoch == number, _ROWS.c.continues.in_(seqs))
        .group_by(_ROWS.c.continues)
    )
    return {opener: (int(documents), times) for opener, documents, times in await session.execute(query)}
