"""The head of a session's chains, for the lease of its next epoch. Apart from the service, so that access, which is
wired before it, can be given this function."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import Head
from .model import RecordEpochRow


async def latest_head(session: AsyncSession, session_id: str) -> Head | None:
    """The last frame of the session that is durable here; None while there is none."""
    row = await session.scalar(
        select(RecordEpochRow)
        .where(RecordEpochRow.session_id == session_id, RecordEpochRow.seq >= 0)
        .order_by(RecordEpochRow.epoch.desc())
        .limit(1)
    )
    return None if row is None else Head(epoch=row.epoch, seq=row.seq, hash=row.hash.hex())
