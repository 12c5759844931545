"""Queries of projects."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from .model import ProjectRow


async def by_id(session: AsyncSession, project_id: str) -> ProjectRow | None:
    """The project with that id."""
    return await session.get(ProjectRow, project_id)


async def by_name(session: AsyncSession, name: str) -> ProjectRow | None:
    """The project of that name."""
    found: ProjectRow | None = await session.scalar(select(ProjectRow).where(ProjectRow.name == name))
    return found


async def visible(
    session: AsyncSession, only: frozenset[str] | None, *, after: str | None, limit: int
) -> list[ProjectRow]:
    """Projects by id, of those in `only` (None: of all)."""
    query = select(ProjectRow).order_by(ProjectRow.id).limit(limit)
    if only is not None:
        query = query.where(ProjectRow.id.in_(only))
    if after is not None:
        query = query.where(ProjectRow.id > after)
    return list(await session.scalars(query))
