"""Queries of access requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.approvals import RequestStatus
from ..identity.actor import Scope
from .model import AccessRequestRow as Row


async def by_id(session: AsyncSession, request_id: str, *, lock: bool = False) -> Row | None:
    """The request with that id; `lock` keeps it from everybody else until the transaction ends."""
    query = select(Row).where(Row.id == request_id)
    found: Row | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def visible(
    session: AsyncSession,
    project_id: str,
    user_id: str,
    readable: Sequence[Scope],
    *,
    pending_at: datetime | None,
    after: str | None,
    limit: int,
) -> Sequence[Row]:
    """A project's requests, newest first: the user's own and those below a readable place; those pending, if asked."""
    query = (
        select(Row)
        .where(Row.project_id == project_id, or_(Row.user_id == user_id, *(_below(scope) for scope in readable)))
        .order_by(Row.id.desc())
        .limit(limit)
    )
    if pending_at is not None:
        query = query.where(Row.status == RequestStatus.PENDING, Row.expires_at > pending_at)
    if after is not None:
        query = query.where(Row.id < after)
    return (await session.scalars(query)).all()


def _below(scope: Scope) -> ColumnElement[bool]:
    parts = (
        (Row.project_id, scope.project_id),
        (Row.resource_id, scope.resource_id),
        (Row.account_id, scope.account_id),
    )
    return and_(true(), *(column == part for column, part in parts if part is not None))


async def newest(session: AsyncSession, user_id: str, account_id: str, status: RequestStatus) -> Row | None:
    """The user's newest request of that status for an account."""
    query = select(Row).where(Row.user_id == user_id, Row.account_id == account_id, Row.status == status)
    found: Row | None = await session.scalar(query.order_by(Row.id.desc()).limit(1))
    return found


async def grants(session: AsyncSession, user_id: str, account_id: str, now: datetime) -> Sequence[Row]:
    """The user's grants for an account that are good now, the one that lasts longest first."""
    query = select(Row).where(
        Row.user_id == user_id,
        Row.account_id == account_id,
        Row.status == RequestStatus.APPROVED,
        Row.until > now,
    )
    return (await session.scalars(query.order_by(Row.until.desc()))).all()
