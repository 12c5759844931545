"""Queries of single sign-on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.sso import SsoPolicy
from ..identity.model import RoleBindingRow, UserRow
from ..identity.permissions import Role
from .model import SsoAttemptRow, SsoDomainRow, SsoIdentityRow, SsoMappingRow, SsoPolicyRow, SsoProviderRow


async def provider(session: AsyncSession, name: str) -> SsoProviderRow | None:
    """The provider with that id or name."""
    found = await session.get(SsoProviderRow, name)
    if found is None:
        found = await session.scalar(select(SsoProviderRow).where(SsoProviderRow.name == name))
    return found


async def providers(session: AsyncSession, *, only_enabled: bool = False) -> Sequence[SsoProviderRow]:
    """All of them, by name."""
    query = select(SsoProviderRow).order_by(SsoProviderRow.name)
    if only_enabled:
        query = query.where(SsoProviderRow.enabled.is_(True))
    return (await session.scalars(query)).all()


async def domains(session: AsyncSession, provider_id: str) -> list[str]:
    """Whose addresses a provider vouches for."""
    query = select(SsoDomainRow.domain).where(SsoDomainRow.provider_id == provider_id).order_by(SsoDomainRow.domain)
    return list(await session.scalars(query))


async def set_domains(session: AsyncSession, provider_id: str, wanted: Iterable[str]) -> str | None:
    """Make these the provider's domains; one that is another provider's is returned, and nothing is changed."""
    names = sorted(set(wanted))
    taken: str | None = await session.scalar(
        select(SsoDomainRow.domain).where(SsoDomainRow.domain.in_(names), SsoDomainRow.provider_id != provider_id)
    )
    if taken is None:
        await session.execute(delete(SsoDomainRow).where(SsoDomainRow.provider_id == provider_id))
        session.add_all(SsoDomainRow(domain=name, provider_id=provider_id) for name in names)
        await session.flush()
    return taken


async def provider_of_domain(session: AsyncSession, domain: str) -> SsoProviderRow | None:
    """The enabled provider that vouches for addresses there."""
    query = (
        select(SsoProviderRow)
        .join(SsoDomainRow, SsoDomainRow.provider_id == SsoProviderRow.id)
        .where(SsoDomainRow.domain == domain, SsoProviderRow.enabled.is_(True))
    )
    found: SsoProviderRow | None = await session.scalar(query)
    return found


async def mappings(session: AsyncSession, provider_id: str) -> Sequence[SsoMappingRow]:
    """Which value means which group."""
    query = select(SsoMappingRow).where(SsoMappingRow.provider_id == provider_id)
    return (await session.scalars(query.order_by(SsoMappingRow.value, SsoMappingRow.group_id))).all()


async def set_mappings(session: AsyncSession, provider_id: str, wanted: Iterable[tuple[str, str]]) -> None:
    """Make these (value, group id) the provider's mappings."""
    await session.execute(delete(SsoMappingRow).where(SsoMappingRow.provider_id == provider_id))
    session.add_all(
        SsoMappingRow(provider_id=provider_id, value=value, group_id=group_id)
        for value, group_id in sorted(set(wanted))
    )
    await session.flush()


async def identities_of(session: AsyncSession, user_id: str, issuer: str) -> Sequence[SsoIdentityRow]:
    """Who a user is at an issuer."""
    query = select(SsoIdentityRow).where(SsoIdentityRow.user_id == user_id, SsoIdentityRow.issuer == issuer)
    return (await session.scalars(query)).all()


async def attempt(session: AsyncSession, state_hash: bytes) -> SsoAttemptRow | None:
    """The attempt with that state, locked."""
    return await session.get(SsoAttemptRow, state_hash, with_for_update=True)


async def open_attempts(session: AsyncSession, now: datetime) -> int:
    """How many are under way."""
    query = select(func.count()).where(SsoAttemptRow.used_at.is_(None), SsoAttemptRow.expires_at > now)
    return int(await session.scalar(query) or 0)


async def delete_old_attempts(session: AsyncSession, before: datetime) -> None:
    """Forget those that were over by then."""
    await session.execute(delete(SsoAttemptRow).where(SsoAttemptRow.expires_at <= before))


async def policy(session: AsyncSession) -> SsoPolicy:
    """The organisation's rule."""
    row = await session.get(SsoPolicyRow, 1)
    return SsoPolicy() if row is None else SsoPolicy(passwords_off=row.passwords_off)


async def set_policy(session: AsyncSession, wanted: SsoPolicy) -> None:
    """Make it the rule."""
    await session.merge(SsoPolicyRow(id=1, passwords_off=wanted.passwords_off))
    await session.flush()


async def owners_with_password(session: AsyncSession) -> list[str]:
    """The addresses of the organisation's lasting administrators who have a password."""
    query = (
        select(UserRow.email)
        .join(RoleBindingRow, RoleBindingRow.user_id == UserRow.id)
        .where(
            RoleBindingRow.role == Role.ADMIN,
            RoleBindingRow.project_id.is_(None),
            RoleBindingRow.expires_at.is_(None),
            UserRow.disabled_at.is_(None),
            UserRow.password_hash.is_not(None),
        )
        .distinct()
    )
    return list(await session.scalars(query))
