"""Queries of identity."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from .actor import Binding, Scope
from .model import RoleBindingRow, SignInRow, TokenKind, TokenRow, UserRow


async def user_by_email(session: AsyncSession, email: str) -> UserRow | None:
    """The user with that (already lower-case) address."""
    found: UserRow | None = await session.scalar(select(UserRow).where(UserRow.email == email))
    return found


async def live_sign_in(
    session: AsyncSession, token_hash: bytes, kind: TokenKind, now: datetime
) -> tuple[UserRow, SignInRow, TokenRow] | None:
    """Whose token that is: None when unknown, expired, revoked, or of a disabled user. `used_at` is the caller's."""
    row = (
        await session.execute(
            select(UserRow, SignInRow, TokenRow)
            .join(SignInRow, SignInRow.user_id == UserRow.id)
            .join(TokenRow, TokenRow.sign_in_id == SignInRow.id)
            .where(
                TokenRow.hash == token_hash,
                TokenRow.kind == kind,
                TokenRow.expires_at > now,
                SignInRow.revoked_at.is_(None),
                UserRow.disabled_at.is_(None),
            )
        )
    ).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


async def bindings(session: AsyncSession, user_id: str, now: datetime) -> tuple[Binding, ...]:
    """The bindings in force; none of a user who is disabled."""
    rows = await session.scalars(
        select(RoleBindingRow)
        .join(UserRow, UserRow.id == RoleBindingRow.user_id)
        .where(
            RoleBindingRow.user_id == user_id,
            UserRow.disabled_at.is_(None),
            or_(RoleBindingRow.expires_at.is_(None), RoleBindingRow.expires_at > now),
        )
        .order_by(RoleBindingRow.created_at, RoleBindingRow.id)
    )
    return tuple(
        Binding(row.role, Scope(row.project_id, row.resource_id, row.account_id), row.expires_at) for row in rows
    )


async def revoke_sign_in(session: AsyncSession, sign_in_id: str, now: datetime) -> None:
    """End a login: its tokens go at once."""
    await session.execute(update(SignInRow).where(SignInRow.id == sign_in_id).values(revoked_at=now))
    await session.execute(delete(TokenRow).where(TokenRow.sign_in_id == sign_in_id))


async def delete_expired_tokens(session: AsyncSession, now: datetime) -> None:
    """Forget tokens that open nothing any more, the used refresh tokens among them only when they have expired."""
    await session.execute(delete(TokenRow).where(TokenRow.expires_at <= now))
