"""One search as a database query: which index it walks, and from where it goes on.

Answers come newest first. Every index ends in the time, so each query walks one index backwards and stops at the limit;
what no index knows is looked at in the rows that it passes. On SQLite the index is named in the query: without
statistics its planner can choose badly, and a bad choice on ten million rows is minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.audit import RecordQuery
from ...api.problems import ProblemCode, ProblemError
from .model import MANY_DOCUMENTS, SLOW_US, RecordRow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of a line in the order of answers."""

    at_us: int
    session_id: str
    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.at_us}.{self.session_id}.{self.epoch}.{self.seq}"


def cursor_of(row: RecordRow) -> Cursor:
    """The cursor behind a line."""
    return Cursor((row.at - _EPOCH) // timedelta(microseconds=1), row.session_id, row.epoch, row.seq)


def read_cursor(text: str | None) -> Cursor | None:
    """What `str` of a cursor wrote; ProblemError `invalid_request`."""
    if text is None:
        return None
    parts = text.split(".")
    numbers = [parts[0], *parts[2:]] if len(parts) == 4 else ["x"]
    if not (text.isascii() and all(part.isdecimal() and len(part) <= 18 for part in numbers)):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "`after` is not a cursor that this list gave out.")
    return Cursor(int(parts[0]), parts[1][:64], int(parts[2]), int(parts[3]))


@dataclass(frozen=True, slots=True)
class Range:
    """Where a reader may look: a whole project (its number), or single places of it.

    A whole project is that of the moment when the reader was judged: places that were made later have higher numbers.
    """

    project: int | None = None
    upto: int = 0  # with `project` alone: its newest place
    place: int | None = None
    among: tuple[int, ...] = ()  # with `project`: only these places of it


def statement(asked: RecordQuery, where: Range, after: Cursor | None, limit: int) -> Select[RecordRow]:
    """The query of one range."""
    index, conditions = _walked(asked, where)
    conditions += _filters(asked)
    if after is not None:
        conditions.append(_behind(after))
    return (
        select(RecordRow)
        .with_hint(RecordRow, f"INDEXED BY {index}", "sqlite")
        .where(and_(*conditions))
        .order_by(RecordRow.at.desc(), RecordRow.session_id.desc(), RecordRow.epoch.desc(), RecordRow.seq.desc())
        .limit(limit)
    )


def _walked(asked: RecordQuery, where: Range) -> tuple[str, list[ColumnElement[bool]]]:
    """The index, and the conditions that it stands on."""
    if where.place is not None:
        return "ix_records_place", [RecordRow.place == where.place]
    conditions: list[ColumnElement[bool]] = [RecordRow.project == where.project]
    if where.among:
        conditions.append(RecordRow.place.in_(where.among))
    else:
        conditions.append(RecordRow.place <= where.upto)
    if asked.database is not None and asked.collection is not None:
        return "ix_records_namespace", conditions
    # Written out, not bound: a partial index is taken where the query says the words that it was made with.
    if asked.failed:
        return "ix_records_failed", [*conditions, literal_column("ok") == literal_column("0")]
    if asked.min_duration_ms is not None and asked.min_duration_ms * 1000 >= SLOW_US:
        return "ix_records_slow", [*conditions, literal_column("duration_us") >= literal_column(str(SLOW_US))]
    if asked.min_documents is not None and asked.min_documents >= MANY_DOCUMENTS:
        return "ix_records_many", [*conditions, literal_column("documents") >= literal_column(str(MANY_DOCUMENTS))]
    if asked.command is not None:
        return "ix_records_command", conditions
    if asked.effect is not None:
        return "ix_records_effect", conditions
    return "ix_records_project", conditions


def _filters(asked: RecordQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    equal: Sequence[tuple[Any, Any]] = (
        (RecordRow.session_id, asked.session_id),
        (RecordRow.database, asked.database),
        (RecordRow.collection, asked.collection),
        (RecordRow.command, asked.command),
        (RecordRow.effect, asked.effect),
        (RecordRow.code, asked.code),
        (RecordRow.kind, asked.kind),
    )
    found += [column == value for column, value in equal if value is not None]
    if asked.since is not None:
        found.append(RecordRow.at >= asked.since)
    if asked.until is not None:
        found.append(RecordRow.at < asked.until)
    if asked.failed:
        found.append(RecordRow.ok == 0)
    if asked.min_duration_ms is not None:
        found.append(RecordRow.duration_us >= asked.min_duration_ms * 1000)
    if asked.min_documents is not None:
        found.append(RecordRow.documents >= asked.min_documents)
    if asked.text is not None or asked.id is not None:
        found.append(RecordRow.kind.in_(("command", "denied")))
    return found


def _behind(after: Cursor) -> ColumnElement[bool]:
    """Everything that comes later in the order. The first condition is what an index can use."""
    at = _EPOCH + timedelta(microseconds=min(after.at_us, 250_000_000_000_000_000))
    row = RecordRow
    same = and_(
        row.at == at,
        or_(
            row.session_id < after.session_id,
            and_(row.session_id == after.session_id, row.epoch < after.epoch),
            and_(row.session_id == after.session_id, row.epoch == after.epoch, row.seq < after.seq),
        ),
    )
    return and_(row.at <= at, or_(row.at < at, same))


async def rows(
    session: AsyncSession, asked: RecordQuery, ranges: Sequence[Range], after: Cursor | None, limit: int
) -> list[RecordRow]:
    """The newest lines of all ranges behind `after`, in their order."""
    found: list[RecordRow] = []
    for where in ranges:
        found += await session.scalars(statement(asked, where, after, limit))
    if len(ranges) > 1:
        found.sort(key=lambda row: (row.at, row.session_id, row.epoch, row.seq), reverse=True)
    return found[:limit]
