"""Queries of devices that wait."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from .model import DeviceRequestRow, Status


async def by_id(session: AsyncSession, request_id: str, *, lock: bool = False) -> DeviceRequestRow | None:
    """The request with that id."""
    return await session.get(DeviceRequestRow, request_id, with_for_update=lock)


async def by_user_code(session: AsyncSession, user_code: str, *, lock: bool = False) -> DeviceRequestRow | None:
    """The request whose device shows that code."""
    query = select(DeviceRequestRow).where(DeviceRequestRow.user_code == user_code)
    found: DeviceRequestRow | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def by_secret(session: AsyncSession, secret_hash: bytes) -> DeviceRequestRow | None:
    """The request with that device code, locked."""
    query = select(DeviceRequestRow).where(DeviceRequestRow.secret_hash == secret_hash).with_for_update()
    found: DeviceRequestRow | None = await session.scalar(query)
    return found


async def waiting(session: AsyncSession, now: datetime) -> int:
    """How many devices wait."""
    query = select(func.count()).where(DeviceRequestRow.status == Status.WAITING, DeviceRequestRow.expires_at > now)
    return int(await session.scalar(query) or 0)


async def delete_old(session: AsyncSession, before: datetime) -> None:
    """Forget requests that were over by then."""
    await session.execute(delete(DeviceRequestRow).where(DeviceRequestRow.expires_at <= before))
