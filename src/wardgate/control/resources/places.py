"""Where resources and accounts are, for whoever binds a role to one of them."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from ..identity.actor import Scope
from .model import AccountRow, ResourceRow


async def scope_of(session: AsyncSession, place: str) -> Scope | None:
    """Where the resource or account with the id `place` is; None if there is none."""
    row = await session.get(ResourceRow, place)
    if row is not None:
        return Scope(row.project_id, row.id)
    account = await session.get(AccountRow, place)
    return None if account is None else Scope(account.project_id, account.resource_id, account.id)
