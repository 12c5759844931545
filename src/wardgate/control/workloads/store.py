"""Queries of services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..identity.holders import ServiceRow
from .model import ConditionRow, ServiceSecretRow, ServiceTokenRow, SpentTokenRow, TrustRow


@dataclass(frozen=True, slots=True)
class Trust:
    """A trust with its conditions."""

    row: TrustRow
    conditions: dict[str, str]


async def service(session: AsyncSession, name: str) -> ServiceRow | None:
    """The service with that id or name."""
    found = await session.get(ServiceRow, name)
    return found or await session.scalar(select(ServiceRow).where(ServiceRow.name == name))


async def services(session: AsyncSession, *, after: str | None, limit: int) -> Sequence[ServiceRow]:
    """Services by id."""
    query = select(ServiceRow).order_by(ServiceRow.id).limit(limit)
    if after is not None:
        query = query.where(ServiceRow.id > after)
    return (await session.scalars(query)).all()


async def secrets(session: AsyncSession, service_id: str, now: datetime) -> Sequence[ServiceSecretRow]:
    """A service's secrets that are good, oldest first."""
    query = select(ServiceSecretRow).where(ServiceSecretRow.service_id == service_id, _good(now))
    return (await session.scalars(query.order_by(ServiceSecretRow.id))).all()


def _good(now: datetime) -> ColumnElement[bool]:
    return or_(ServiceSecretRow.expires_at.is_(None), ServiceSecretRow.expires_at > now)


async def by_secret(session: AsyncSession, secret_hash: bytes) -> tuple[ServiceRow, ServiceSecretRow] | None:
    """Whose secret that is."""
    query = (
        select(ServiceRow, ServiceSecretRow)
        .join(ServiceSecretRow, ServiceSecretRow.service_id == ServiceRow.id)
        .where(ServiceSecretRow.hash == secret_hash)
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def retire_secrets(session: AsyncSession, service_id: str, at: datetime) -> None:
    """Let all of a service's secrets end at `at`, those that end earlier excepted."""
    later = or_(ServiceSecretRow.expires_at.is_(None), ServiceSecretRow.expires_at > at)
    await session.execute(
        update(ServiceSecretRow).where(ServiceSecretRow.service_id == service_id, later).values(expires_at=at)
    )


async def trusts(session: AsyncSession, service_id: str) -> list[Trust]:
    """A service's trusts, oldest first."""
    rows = (
        await session.scalars(select(TrustRow).where(TrustRow.service_id == service_id).order_by(TrustRow.id))
    ).all()
    query = select(ConditionRow).where(ConditionRow.trust_id.in_([row.id for row in rows])).order_by(ConditionRow.claim)
    conditions: dict[str, dict[str, str]] = {row.id: {} for row in rows}
    for condition in await session.scalars(query):
        conditions[condition.trust_id][condition.claim] = condition.pattern
    return [Trust(row, conditions[row.id]) for row in rows]


async def by_token(
    session: AsyncSession, token_hash: bytes, now: datetime
) -> tuple[ServiceRow, ServiceTokenRow] | None:
    """Whose token that is; None when unknown or expired. Whether its service and credential stand is not judged."""
    query = (
        select(ServiceRow, ServiceTokenRow)
        .join(ServiceTokenRow, ServiceTokenRow.service_id == ServiceRow.id)
        .where(ServiceTokenRow.hash == token_hash, ServiceTokenRow.expires_at > now)
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def credential_stands(session: AsyncSession, service_id: str, credential_id: str, now: datetime) -> bool:
    """Whether a service still has that secret or trust."""
    secret = await session.get(ServiceSecretRow, credential_id)
    if secret is not None:
        return secret.service_id == service_id and (secret.expires_at is None or secret.expires_at > now)
    trust = await session.get(TrustRow, credential_id)
    return trust is not None and trust.service_id == service_id


async def delete_expired(session: AsyncSession, now: datetime) -> None:
    """Forget tokens that open nothing any more, and spent ones that nobody would take."""
    await session.execute(delete(ServiceTokenRow).where(ServiceTokenRow.expires_at <= now))
    await session.execute(delete(SpentTokenRow).where(SpentTokenRow.expires_at <= now))
