"""Making and finding projects."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import Page, Project
from ...api.problems import ProblemCode, ProblemError
from ...ids import Kind
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import ORGANISATION, Actor, not_found
from ..identity.permissions import Permission
from ..paging import Paging, page_of
from ..sources import Sources
from . import store
from .model import ProjectRow


class ProjectService:
    """Projects as actors see them."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources

    async def create(self, actor: Actor, name: str) -> Project:
        """A new project; ProblemError `conflict` if there is one of that name."""
        actor.require(Permission.ORGANISATION_PROJECT_CREATE, ORGANISATION)
        async with self._database.write() as session:
            if await store.by_name(session, name) is not None:
                raise ProblemError(ProblemCode.CONFLICT, f"There is already a project {name}.")
            row = ProjectRow(id=self._sources.new_id(Kind.PROJECT), name=name, created_at=self._sources.now())
            session.add(row)
            await session.flush()
            await self._audit_log.append(
                session, actor.cause, Event.PROJECT_CREATED, row.id, project_id=row.id, details={"name": name}
            )
        return _describe(row)

    async def list_visible(self, actor: Actor, paging: Paging) -> Page[Project]:
        """The projects that the actor sees."""
        ids = {binding.scope.project_id for binding in actor.bindings}
        only = None if None in ids else frozenset(project_id for project_id in ids if project_id)
        async with self._database.read() as session:
            rows = await store.visible(session, only, after=paging.after, limit=paging.limit + 1)
        return page_of(rows, paging, _describe, lambda row: row.id)

    async def get(self, project_id: str) -> Project:
        """One project; ProblemError `not_found`. Whether the actor may see it was the route's question."""
        async with self._database.read() as session:
            return _describe(await self.must_exist(session, project_id))

    async def exists(self, session: AsyncSession, project_id: str) -> bool:
        """Whether there is a project with that id."""
        return await store.by_id(session, project_id) is not None

    async def must_exist(self, session: AsyncSession, project_id: str, *, lock: bool = False) -> ProjectRow:
        """The project's row, for services that put something into it; ProblemError `not_found`."""
        row = await store.by_id(session, project_id, lock=lock)
        if row is None:
            raise not_found(f"project {project_id[:64]}")
        return row


def _describe(row: ProjectRow) -> Project:
    return Project(id=row.id, name=row.name, created_at=row.created_at)
