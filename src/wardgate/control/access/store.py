"""Queries of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.sessions import SessionFilter, SessionState
from ..identity.actor import Actor, Scope
from ..identity.permissions import Permission
from .model import SessionRow, TransitionRow
from .states import LIVE


async def by_id(session: AsyncSession, session_id: str) -> SessionRow | None:
    """The session with that id."""
    return await session.get(SessionRow, session_id)


async def count_live(session: AsyncSession, account_id: str) -> int:
    """How many sessions of an account are not over."""
    query = select(func.count()).where(SessionRow.account_id == account_id, SessionRow.status.in_(LIVE))
    return int(await session.scalar(query) or 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """The sessions of a project that somebody may see: all within `scopes`, and their own within `own_scopes`."""

    project_id: str
    user_id: str
    scopes: tuple[Scope, ...]
    own_scopes: tuple[Scope, ...]

    @classmethod
    def by(cls, actor: Actor, project_id: str) -> Seen:
        """What the actor's roles let them see of the project."""
        return cls(
            project_id,
            actor.user_id,
            tuple(b.scope for b in actor.bindings if b.permits(Permission.ACCOUNT_SESSION_READ)),
            tuple(b.scope for b in actor.bindings if b.permits(Permission.ACCOUNT_OWN_SESSION_READ)),
        )

    def condition(self) -> ColumnElement[bool]:
        """The same in the database's words."""
        own = and_(SessionRow.user_id == self.user_id, _within(self.own_scopes))
        return and_(SessionRow.project_id == self.project_id, or_(_within(self.scopes), own))


async def newest(
    session: AsyncSession, seen: Seen, asked: SessionFilter, *, after: str | None, limit: int
) -> Sequence[SessionRow]:
    """Sessions of a project, newest first."""
    query = select(SessionRow).where(seen.condition(), *_filters(asked)).order_by(SessionRow.id.desc()).limit(limit)
    if after is not None:
        query = query.where(SessionRow.id < after)
    return list(await session.scalars(query))


def _filters(asked: SessionFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if asked.state is not None:
        live = SessionRow.status.in_(LIVE)
        found.append(live if asked.state is SessionState.LIVE else ~live)
    if asked.end_reason is not None:
        found.append(SessionRow.end_reason == asked.end_reason)
    named: tuple[tuple[str | None, Any, Any], ...] = (
        (asked.user, SessionRow.user, SessionRow.user_id),
        (asked.resource, SessionRow.resource, SessionRow.resource_id),
        (asked.account, SessionRow.account, SessionRow.account_id),
    )
    found += [or_(name == value, key == value) for value, name, key in named if value is not None]
    if asked.since is not None:
        found.append(SessionRow.created_at >= asked.since)
    if asked.until is not None:
        found.append(SessionRow.created_at < asked.until)
    return found


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
