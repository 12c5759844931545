"""How a project's records are made and how long they are kept.

Law: what is not set is the strictest: synced to disk before a reply ends, and kept for ever. A legal hold outlives
whatever else is set: while it stands nothing is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.audit import RecordSettings, RecordSettingsUpdate
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope
from ..identity.permissions import Permission
from .model import ProjectRecordsRow
from .service import ProjectService

DEFAULT = RecordSettings()


@dataclass(frozen=True, slots=True)
class Retention:
    """A project whose records are deleted once their session has ended that long ago."""

    project_id: str
    keep: timedelta


class RecordKeeping:
    """The settings."""

    def __init__(self, database: Database, audit_log: AuditLog, projects: ProjectService) -> None:
        self._database = database
        self._audit_log = audit_log
        self._projects = projects

    async def get(self, project_id: str) -> RecordSettings:
        """A project's settings; ProblemError `not_found`."""
        async with self._database.read() as session:
            await self._projects.must_exist(session, project_id)
            return _describe(await session.get(ProjectRecordsRow, project_id))

    async def update(self, actor: Actor, project_id: str, body: RecordSettingsUpdate) -> RecordSettings:
        """Change what is given; the event says what it was and what it is."""
        actor.require(Permission.PROJECT_RECORDS_UPDATE, Scope(project_id), what=f"project {project_id[:64]}")
        changes = body.model_dump(exclude_unset=True)
        async with self._database.write() as session:
            await self._projects.must_exist(session, project_id)
            row = await session.get(ProjectRecordsRow, project_id)
            before = _describe(row).model_dump()
            if row is None:
                row = ProjectRecordsRow(project_id=project_id, **DEFAULT.model_dump())
                session.add(row)
            for name, value in changes.items():
                setattr(row, name, value)
            await session.flush()
            after = _describe(row)
            changed = {
                name: {"from": before[name], "to": value}
                for name, value in after.model_dump().items()
                if value != before[name]
            }
            if changed:
                await self._audit_log.append(
                    session,
                    actor.cause,
                    Event.PROJECT_RECORDS_UPDATED,
                    project_id,
                    project_id=project_id,
                    details=changed,
                )
        return after

    async def durability(self, session: AsyncSession, project_id: str) -> Literal["strict", "process"]:
        """For a lease."""
        return _describe(await session.get(ProjectRecordsRow, project_id)).durability

    async def retention(self, session: AsyncSession, project_id: str) -> Retention | None:
        """How long the project's records are kept; None: for ever."""
        row = await session.get(ProjectRecordsRow, project_id)
        if row is None or row.retention_days is None or row.legal_hold:
            return None
        return Retention(project_id, timedelta(days=row.retention_days))

    async def is_held(self, session: AsyncSession, project_id: str) -> bool:
        """Whether a legal hold stands."""
        return _describe(await session.get(ProjectRecordsRow, project_id)).legal_hold

    async def limited(self, session: AsyncSession) -> list[Retention]:
        """The projects whose records are not kept for ever."""
        query = select(ProjectRecordsRow).where(
            ProjectRecordsRow.retention_days.is_not(None), ProjectRecordsRow.legal_hold.is_(False)
        )
        return [
            Retention(row.project_id, timedelta(days=row.retention_days or 0)) for row in await session.scalars(query)
        ]


def _describe(row: ProjectRecordsRow | None) -> RecordSettings:
    if row is None:
        return DEFAULT
    return RecordSettings(
        durability=cast("Literal['strict', 'process']", row.durability),
        retention_days=row.retention_days,
        legal_hold=row.legal_hold,
    )
