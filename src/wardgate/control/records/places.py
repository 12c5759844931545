"""The small numbers of places: who worked where (`RecordPlaceRow`)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..access.places import RecordPlace
from .model import RecordPlaceRow


async def find(session: AsyncSession, place: RecordPlace) -> RecordPlaceRow | None:
    """The row of a session's place."""
    scope = place.scope
    found: RecordPlaceRow | None = await session.scalar(
        select(RecordPlaceRow).where(
            RecordPlaceRow.project_id == scope.project_id,
            RecordPlaceRow.resource_id == scope.resource_id,
            RecordPlaceRow.account_id == scope.account_id,
            RecordPlaceRow.user_id == place.user_id,
        )
    )
    return found


async def make(session: AsyncSession, place: RecordPlace) -> RecordPlaceRow:
    """The row of a session's place, made if there is none; in a `write()` block."""
    found = await find(session, place)
    if found is not None:
        return found
    number = (await session.scalar(select(func.max(RecordPlaceRow.id))) or 0) + 1
    of_project = select(func.min(RecordPlaceRow.id)).where(RecordPlaceRow.project_id == place.scope.project_id)
    made = RecordPlaceRow(
        id=number,
        project=await session.scalar(of_project) or number,
        project_id=place.scope.project_id,
        resource_id=place.scope.resource_id,
        account_id=place.scope.account_id,
        user_id=place.user_id,
        resource=place.resource,
        account=place.account,
        user=place.user,
    )
    session.add(made)
    await session.flush()
    return made


async def all_of(session: AsyncSession, project_id: str | None) -> Sequence[RecordPlaceRow]:
    """Every place of a project, or of all."""
    query = select(RecordPlaceRow).order_by(RecordPlaceRow.id)
    if project_id is not None:
        query = query.where(RecordPlaceRow.project_id == project_id)
    return list(await session.scalars(query))
