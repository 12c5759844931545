"""Queries of the control plane's audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit_log.model import AuditEvent


@dataclass(frozen=True, slots=True)
class Filter:
    """What is looked for; None is any. `event` may be the first part of a name: `user` finds `user.created`; `client`
    any part of one."""

    project_id: str | None = None
    actor: str | None = None
    event: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    address: str | None = None
    client: str | None = None


async def newest(
    session: AsyncSession, wanted: Filter, *, only: frozenset[str] | None, before: int | None, limit: int
) -> Sequence[AuditEvent]:
    """Events by number, newest first; of the projects in `only` (None: of all, and those of none)."""
    query = select(AuditEvent).where(*_conditions(wanted)).order_by(AuditEvent.seq.desc()).limit(limit)
    if only is not None:
        query = query.where(AuditEvent.project_id.in_(only))
    if before is not None:
        query = query.where(AuditEvent.seq < before)
    return (await session.scalars(query)).all()


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.project_id is not None:
        found.append(AuditEvent.project_id == wanted.project_id)
    if wanted.actor is not None:
        found.append(or_(AuditEvent.actor == wanted.actor, AuditEvent.actor_id == wanted.actor))
    if wanted.event is not None:
        found.append(
            or_(AuditEvent.event == wanted.event, AuditEvent.event.startswith(f"{wanted.event}.", autoescape=True))
        )
    if wanted.target is not None:
        found.append(AuditEvent.target == wanted.target)
    if wanted.since is not None:
        found.append(AuditEvent.at >= wanted.since)
    if wanted.until is not None:
        found.append(AuditEvent.at < wanted.until)
    if wanted.address is not None:
        found.append(AuditEvent.address == wanted.address)
    if wanted.client is not None:
        found.append(AuditEvent.client.icontains(wanted.client, autoescape=True))
    return found


async def last(session: AsyncSession) -> AuditEvent | None:
    """The newest event."""
    found: AuditEvent | None = await session.scalar(select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(1))
    return found


async def count(session: AsyncSession) -> int:
    """How many there are."""
    return int(await session.scalar(select(func.count()).select_from(AuditEvent)) or 0)
