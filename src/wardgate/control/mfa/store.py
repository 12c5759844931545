"""Queries of multi-factor authentication. `lock` keeps a row from everybody else until the transaction ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import MfaKind, MfaPolicy
from .model import (
    MfaChallengeRow,
    MfaMethodRow,
    MfaPolicyRow,
    PasskeyQuestionRow,
    PasskeyRow,
    RecoveryCodeRow,
)

_POLICY = 1


async def policy(session: AsyncSession) -> MfaPolicy:
    """The organisation's rule."""
    row = await session.get(MfaPolicyRow, _POLICY)
    if row is None:
        return MfaPolicy()
    return MfaPolicy(enforced=row.enforced, at_sign_in=row.at_sign_in, user_verification=row.user_verification)


async def set_policy(session: AsyncSession, wanted: MfaPolicy) -> None:
    """Change it."""
    row = await session.get(MfaPolicyRow, _POLICY)
    if row is None:
        row = MfaPolicyRow(id=_POLICY)
        session.add(row)
    row.enforced, row.at_sign_in, row.user_verification = wanted.enforced, wanted.at_sign_in, wanted.user_verification
    await session.flush()


async def methods(session: AsyncSession, user_id: str) -> Sequence[MfaMethodRow]:
    """A user's authenticator app, if it counts."""
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
    """Forget a user's authenticator apps, but for one."""
    await session.execute(
        delete(MfaMethodRow).where(MfaMethodRow.user_id == user_id, MfaMethodRow.id.is_distinct_from(but))
    )


async def passkeys(session: AsyncSession, user_id: str, rp_id: str | None = None) -> Sequence[PasskeyRow]:
    """A user's passkeys, oldest first; with `rp_id` those that are good there."""
    query = select(PasskeyRow).where(PasskeyRow.user_id == user_id)
    if rp_id is not None:
        query = query.where(PasskeyRow.rp_id == rp_id)
    return (await session.scalars(query.order_by(PasskeyRow.created_at, PasskeyRow.id))).all()


async def passkey(session: AsyncSession, user_id: str, passkey_id: str) -> PasskeyRow | None:
    """One of the user's passkeys."""
    row = await session.get(PasskeyRow, passkey_id)
    return row if row is not None and row.user_id == user_id else None


async def passkey_by_credential(
    session: AsyncSession, credential_id: bytes, *, lock: bool = False
) -> PasskeyRow | None:
    """The passkey with that credential id, whosoever it is."""
    query = select(PasskeyRow).where(PasskeyRow.credential_id == credential_id)
    found: PasskeyRow | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def delete_passkeys(session: AsyncSession, user_id: str) -> None:
    """Forget all of a user's passkeys."""
    await session.execute(delete(PasskeyRow).where(PasskeyRow.user_id == user_id))


async def take_question(
    session: AsyncSession, question_id: str, now: datetime, *, user_id: str | None, sign_in_id: str | None
) -> bool:
    """Use a question of that user and sign-in up; False if there is none, or it has expired."""
    done = await session.execute(
        delete(PasskeyQuestionRow).where(
            PasskeyQuestionRow.id == question_id,
            PasskeyQuestionRow.user_id.is_not_distinct_from(user_id),
            PasskeyQuestionRow.sign_in_id.is_not_distinct_from(sign_in_id),
            PasskeyQuestionRow.expires_at > now,
        )
    )
    assert isinstance(done, CursorResult)
    return done.rowcount == 1


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
    """Forget challenges and questions that are over, and apps that were never confirmed."""
    await session.execute(delete(MfaChallengeRow).where(MfaChallengeRow.expires_at < challenges_before))
    await session.execute(delete(PasskeyQuestionRow).where(PasskeyQuestionRow.expires_at < challenges_before))
    await session.execute(
        delete(MfaMethodRow).where(MfaMethodRow.confirmed_at.is_(None), MfaMethodRow.created_at < unconfirmed_before)
    )
