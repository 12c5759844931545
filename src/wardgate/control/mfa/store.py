"""Queries of multi-factor authentication. `lock` keeps a row from everybody else until the transaction ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import MfaKind, MfaPolicy
from .model import MfaChallengeRow, MfaMethodRow, MfaPolicyRow, RecoveryCodeRow

_POLICY = 1


async def policy(session: AsyncSession) -> MfaPolicy:
    """The organisation's rule."""
    row = await session.get(MfaPolicyRow, _POLICY)
    return MfaPolicy() if row is None else MfaPolicy(enforced=row.enforced, at_sign_in=row.at_sign_in)


async def set_policy(session: AsyncSession, wanted: MfaPolicy) -> None:
    """Change it."""
    row = await session.get(MfaPolicyRow, _POLICY)
    if row is None:
        row = MfaPolicyRow(id=_POLICY)
        session.add(row)
    row.enforced, row.at_sign_in = wanted.enforced, wanted.at_sign_in
    await session.flush()


async def methods(session: AsyncSession, user_id: str) -> Sequence[MfaMethodRow]:
    """A user's factors that count, oldest first."""
    query = select(MfaMethodRow).where(MfaMethodRow.user_id == user_id, MfaMethodRow.confirmed_at.is_not(None))
    return (await session.scalars(query.order_by(MfaMethodRow.created_at, MfaMethodRow.id))).all()


async def method(session: AsyncSession, user_id: str, method_id: str) -> MfaMethodRow | None:
    """One of a user's factors, counting or not."""
    row = await session.get(MfaMethodRow, method_id)
    return row if row is not None and row.user_id == user_id else None


async def totp_method(session: AsyncSession, user_id: str, *, lock: bool = False) -> MfaMethodRow | None:
    """The user's authenticator app, if it counts."""
    query = select(MfaMethodRow).where(
        MfaMethodRow.user_id == user_id, MfaMethodRow.kind == MfaKind.TOTP, MfaMethodRow.confirmed_at.is_not(None)
    )
    found: MfaMethodRow | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def delete_methods(session: AsyncSession, user_id: str, *, but: str | None = None) -> None:
    """Forget a user's factors, but for one."""
    await session.execute(
        delete(MfaMethodRow).where(MfaMethodRow.user_id == user_id, MfaMethodRow.id.is_distinct_from(but))
    )


async def challenge(session: AsyncSession, challenge_id: str, *, lock: bool = False) -> MfaChallengeRow | None:
    """The challenge with that id."""
    query = select(MfaChallengeRow).where(MfaChallengeRow.id == challenge_id)
    found: MfaChallengeRow | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def recovery_codes_left(session: AsyncSession, user_id: str) -> int:
    """How many are unused."""
    query = select(func.count()).where(RecoveryCodeRow.user_id == user_id, RecoveryCodeRow.used_at.is_(None))
    return int(await session.scalar(query) or 0)


async def replace_recovery_codes(session: AsyncSession, user_id: str, hashes: Sequence[bytes], now: datetime) -> None:
    """New ones in place of all old ones."""
    await session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id))
    session.add_all(RecoveryCodeRow(hash=each, user_id=user_id, created_at=now) for each in hashes)
    await session.flush()


async def use_recovery_code(session: AsyncSession, user_id: str, code_hash: bytes, now: datetime) -> bool:
    """Use one up; False if there is no such unused code."""
    done = await session.execute(
        update(RecoveryCodeRow)
        .where(RecoveryCodeRow.hash == code_hash, RecoveryCodeRow.user_id == user_id, RecoveryCodeRow.used_at.is_(None))
        .values(used_at=now)
    )
    assert isinstance(done, CursorResult)
    return done.rowcount == 1


async def delete_old(session: AsyncSession, challenges_before: datetime, unconfirmed_before: datetime) -> None:
    """Forget challenges that are over and factors that were never confirmed."""
    await session.execute(delete(MfaChallengeRow).where(MfaChallengeRow.expires_at < challenges_before))
    await session.execute(
        delete(MfaMethodRow).where(MfaMethodRow.confirmed_at.is_(None), MfaMethodRow.created_at < unconfirmed_before)
    )
