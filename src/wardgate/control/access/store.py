"""Queries of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, false, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..identity.actor import Scope
from .model import SessionRow, TransitionRow
from .states import LIVE


async def by_id(session: AsyncSession, session_id: str) -> SessionRow | None:
    """The session with that id."""
    return await session.get(SessionRow, session_id)


async def count_live(session: AsyncSession, account_id: str) -> int:
    """How many sessions of an account are not over."""
    query = select(func.count()).where(SessionRow.account_id == account_id, SessionRow.status.in_(LIVE))
    return int(await session.scalar(query) or 0)


async def newest(
    session: AsyncSession,
    project_id: str,
    *,
    scopes: Iterable[Scope],
    own_scopes: Iterable[Scope],
    user_id: str,
    after: str | None,
    limit: int,
) -> Sequence[SessionRow]:
    """Sessions of a project, newest first: all within `scopes`, and the user's own within `own_scopes`."""
    own = and_(SessionRow.user_id == user_id, _within(own_scopes))
    query = (
        select(SessionRow)
        .where(SessionRow.project_id == project_id, or_(_within(scopes), own))
        .order_by(SessionRow.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(SessionRow.id < after)
    return list(await session.scalars(query))


def _within(scopes: Iterable[Scope]) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = []
    for scope in scopes:
        if scope.account_id is not None:
            conditions.append(SessionRow.account_id == scope.account_id)
        elif scope.resource_id is not None:
            conditions.append(SessionRow.resource_id == scope.resource_id)
        elif scope.project_id is not None:
            conditions.append(SessionRow.project_id == scope.project_id)
        else:
            conditions.append(true())
    return or_(*conditions) if conditions else false()


async def live(session: AsyncSession, gateway_id: str | None = None) -> Sequence[SessionRow]:
    """Sessions that have not ended; of one gateway, or of all."""
    query = select(SessionRow).where(SessionRow.status.in_(LIVE))
    if gateway_id is not None:
        query = query.where(SessionRow.gateway_id == gateway_id)
    return list(await session.scalars(query))


async def next_number(session: AsyncSession, session_id: str) -> int:
    """The number of the next transition."""
    query = select(func.max(TransitionRow.number)).where(TransitionRow.session_id == session_id)
    return int(await session.scalar(query) or 0) + 1


async def renew(session: AsyncSession, ids: Iterable[str], renew_by: datetime) -> None:
    """Push the deadline of these leases out."""
    await session.execute(update(SessionRow).where(SessionRow.id.in_(list(ids))).values(renew_by=renew_by))
