"""Queries of resources and accounts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from .model import AccountRow, ResourceRow


async def resource_by_name(session: AsyncSession, project_id: str, name: str) -> ResourceRow | None:
    """The resource of that name in a project."""
    query = select(ResourceRow).where(ResourceRow.project_id == project_id, ResourceRow.name == name)
    found: ResourceRow | None = await session.scalar(query)
    return found


async def resources(
    session: AsyncSession,
    project_id: str,
    only: frozenset[str] | None,
    *,
    after: str | None,
    limit: int,
    q: str = "",
    gateways: Sequence[str] = (),
    by_name: bool = False,
) -> Sequence[ResourceRow]:
    """A project's resources by id or name, of those in `only` (None: of all) with `q` in name or connection string, or
    at one of `gateways`."""
    key = ResourceRow.name if by_name else ResourceRow.id
    query = select(ResourceRow).where(ResourceRow.project_id == project_id).order_by(key).limit(limit)
    if only is not None:
        query = query.where(ResourceRow.id.in_(only))
    if q:
        text = q.lower()
        query = query.where(
            or_(
                ResourceRow.name.contains(text, autoescape=True),
                func.lower(ResourceRow.connection_string).contains(text, autoescape=True),
                ResourceRow.gateway_id.in_(gateways),
            )
        )
    if after is not None:
        query = query.where(key > after)
    return list(await session.scalars(query))


async def account_by_name(session: AsyncSession, resource_id: str, name: str) -> AccountRow | None:
    """The account of that name on a resource."""
    query = select(AccountRow).where(AccountRow.resource_id == resource_id, AccountRow.name == name)
    found: AccountRow | None = await session.scalar(query)
    return found


async def accounts(
    session: AsyncSession, resource_id: str, only: frozenset[str] | None, *, after: str | None, limit: int
) -> Sequence[AccountRow]:
    """A resource's accounts by id, of those in `only` (None: of all)."""
    query = select(AccountRow).where(AccountRow.resource_id == resource_id).order_by(AccountRow.id).limit(limit)
    if only is not None:
        query = query.where(AccountRow.id.in_(only))
    if after is not None:
        query = query.where(AccountRow.id > after)
    return list(await session.scalars(query))


async def forget_secrets(session: AsyncSession, resource_id: str) -> list[str]:
    """Drop passwords and client certificates of a resource's accounts; the names of those that had any."""
    password, certificate = AccountRow.sealed_password, AccountRow.sealed_client_certificate
    had = select(AccountRow.name).where(
        AccountRow.resource_id == resource_id, or_(password.is_not(None), certificate.is_not(None))
    )
    names = list(await session.scalars(had.order_by(AccountRow.name)))
    forgotten: dict[str, None] = {
        "sealed_password": None,
        "sealed_client_certificate": None,
        "certificate_expires_at": None,
    }
    await session.execute(update(AccountRow).where(AccountRow.resource_id == resource_id).values(forgotten))
    return names
