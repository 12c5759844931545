"""Queries of projects."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from .model import MaskingRuleRow, ProjectRow


async def by_id(session: AsyncSession, project_id: str, *, lock: bool = False) -> ProjectRow | None:
    """The project with that id; with `lock`, nobody else changes what it has until this block ends."""
    return await session.get(ProjectRow, project_id, with_for_update=lock)


async def masking_rules(session: AsyncSession, project_id: str) -> list[MaskingRuleRow]:
    """All masking rules of a project, by name."""
    query = select(MaskingRuleRow).where(MaskingRuleRow.project_id == project_id).order_by(MaskingRuleRow.name)
    return list(await session.scalars(query))


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
