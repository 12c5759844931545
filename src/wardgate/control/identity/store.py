"""Queries of identity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from .actor import Binding, Scope
from .holders import GroupMemberRow, GroupRow, Holder, ServiceRow, holder_kind
from .model import Method, RoleBindingRow, SignInRow, TokenKind, TokenRow, UserRow
from .permissions import Role

_Column = InstrumentedAttribute[str | None]
_COLUMNS: dict[str, _Column] = {
    "user_id": RoleBindingRow.user_id,
    "group_id": RoleBindingRow.group_id,
    "service_id": RoleBindingRow.service_id,
}


async def user_by_email(session: AsyncSession, email: str) -> UserRow | None:
    """The user with that (already lower-case) address."""
    found: UserRow | None = await session.scalar(select(UserRow).where(UserRow.email == email))
    return found


async def user_by_id(session: AsyncSession, user_id: str, *, lock: bool = False) -> UserRow | None:
    """The user with that id; `lock` keeps the row from everybody else until the transaction ends."""
    return await session.get(UserRow, user_id, with_for_update=lock)


async def users(session: AsyncSession, *, after: str | None, limit: int) -> list[UserRow]:
    """Users by id."""
    query = select(UserRow).order_by(UserRow.id).limit(limit)
    if after is not None:
        query = query.where(UserRow.id > after)
    return list(await session.scalars(query))


async def other_owners(session: AsyncSession, *, user_id: str | None = None, binding_id: str | None = None) -> int:
    """How many lasting administrators of the organisation there are without that user, or without that binding."""
    query = (
        select(func.count(RoleBindingRow.user_id.distinct()))
        .join(UserRow, UserRow.id == RoleBindingRow.user_id)
        .where(
            RoleBindingRow.role == Role.ADMIN,
            RoleBindingRow.project_id.is_(None),
            RoleBindingRow.expires_at.is_(None),
            UserRow.disabled_at.is_(None),
        )
    )
    if user_id is not None:
        query = query.where(RoleBindingRow.user_id != user_id)
    if binding_id is not None:
        query = query.where(RoleBindingRow.id != binding_id)
    return int(await session.scalar(query) or 0)


async def binding_rows(
    session: AsyncSession,
    readable: Sequence[Scope],
    now: datetime,
    *,
    holder_id: str | None,
    at: Scope | None,
    after: str | None,
    limit: int,
) -> list[tuple[RoleBindingRow, Holder]]:
    """Bindings in force by id: at or below one of the `readable` places, of one holder, or at exactly one place."""
    query = (
        select(RoleBindingRow, UserRow.email, GroupRow.name, ServiceRow.name)
        .outerjoin(UserRow, UserRow.id == RoleBindingRow.user_id)
        .outerjoin(GroupRow, GroupRow.id == RoleBindingRow.group_id)
        .outerjoin(ServiceRow, ServiceRow.id == RoleBindingRow.service_id)
        .where(or_(false(), *(_below(scope) for scope in readable)), _in_force(now))
        .order_by(RoleBindingRow.id)
        .limit(limit)
    )
    if holder_id is not None:
        query = query.where(_of(holder_id))
    if at is not None:
        columns = (RoleBindingRow.project_id, RoleBindingRow.resource_id, RoleBindingRow.account_id)
        wanted = (at.project_id, at.resource_id, at.account_id)
        query = query.where(
            *(column.is_not_distinct_from(value) for column, value in zip(columns, wanted, strict=True))
        )
    if after is not None:
        query = query.where(RoleBindingRow.id > after)
    return [(row[0], _holder(row[0], row[1] or row[2] or row[3] or "")) for row in await session.execute(query)]


def _holder(row: RoleBindingRow, name: str) -> Holder:
    return Holder(holder_kind(row.holder_id), row.holder_id, name)


def _of(holder_id: str) -> ColumnElement[bool]:
    """Bound to that very user, group or service; nothing is bound to what is none."""
    try:
        column = holder_column(holder_id)
    except ValueError:
        return false()
    return _COLUMNS[column] == holder_id


def holder_column(holder_id: str) -> str:
    """The column of a binding that names that holder; ValueError if it can hold none."""
    return f"{holder_kind(holder_id).value}_id"


def _in_force(now: datetime) -> ColumnElement[bool]:
    return or_(RoleBindingRow.expires_at.is_(None), RoleBindingRow.expires_at > now)


def _below(scope: Scope) -> ColumnElement[bool]:
    """At `scope` or below it: `Scope.covers` as a condition."""
    return and_(true(), *(column == part for column, part in _parts(scope) if part is not None))


def _parts(scope: Scope) -> tuple[tuple[_Column, str | None], ...]:
    """The columns of a binding's place and what `scope` has there."""
    return (
        (RoleBindingRow.project_id, scope.project_id),
        (RoleBindingRow.resource_id, scope.resource_id),
        (RoleBindingRow.account_id, scope.account_id),
    )


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
                or_(SignInRow.ends_at.is_(None), SignInRow.ends_at > now),
                UserRow.disabled_at.is_(None),
            )
        )
    ).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


async def bindings(session: AsyncSession, user_id: str, now: datetime) -> tuple[Binding, ...]:
    """A user's bindings in force, their own and those of their groups; none of a user who is disabled."""
    groups = select(GroupMemberRow.group_id).where(GroupMemberRow.user_id == user_id)
    standing = select(UserRow.id).where(UserRow.id == user_id, UserRow.disabled_at.is_(None))
    query = (
        select(RoleBindingRow, GroupRow.name)
        .outerjoin(GroupRow, GroupRow.id == RoleBindingRow.group_id)
        .where(
            or_(RoleBindingRow.user_id == user_id, RoleBindingRow.group_id.in_(groups)),
            standing.exists(),
            _in_force(now),
        )
        .order_by(RoleBindingRow.created_at, RoleBindingRow.id)
    )
    return tuple(Binding(row.role, row.scope, row.expires_at, group) for row, group in await session.execute(query))


async def held_by(session: AsyncSession, holder_id: str, now: datetime) -> tuple[Binding, ...]:
    """The bindings in force of that very user, group or service."""
    query = select(RoleBindingRow).where(_of(holder_id), _in_force(now))
    rows = await session.scalars(query.order_by(RoleBindingRow.created_at, RoleBindingRow.id))
    return tuple(Binding(row.role, row.scope, row.expires_at) for row in rows)


async def live_sign_ins(session: AsyncSession, user_id: str, now: datetime) -> Sequence[SignInRow]:
    """A user's logins that can still be refreshed, the newest use first."""
    query = (
        select(SignInRow)
        .where(
            SignInRow.user_id == user_id,
            SignInRow.revoked_at.is_(None),
            SignInRow.id.in_(select(TokenRow.sign_in_id).where(TokenRow.expires_at > now, TokenRow.used_at.is_(None))),
        )
        .order_by(func.coalesce(SignInRow.used_at, SignInRow.refreshed_at).desc(), SignInRow.id)
    )
    return (await session.scalars(query)).all()


async def is_familiar(session: AsyncSession, address: str, since: datetime) -> bool:
    """Whether anybody signed in, or used a sign-in, from that very address since then."""
    query = select(SignInRow.id).where(
        SignInRow.refreshed_at >= since, or_(SignInRow.address == address, SignInRow.used_address == address)
    )
    return await session.scalar(query.limit(1)) is not None


async def revoke_sign_in(session: AsyncSession, sign_in_id: str, now: datetime) -> None:
    """End a login: its tokens go at once."""
    await session.execute(update(SignInRow).where(SignInRow.id == sign_in_id).values(revoked_at=now))
    await session.execute(delete(TokenRow).where(TokenRow.sign_in_id == sign_in_id))


async def revoke_sign_ins(session: AsyncSession, user_id: str, now: datetime, *, keep: str | None = None) -> None:
    """End every login of a user but `keep`: their tokens go at once."""
    theirs = select(SignInRow.id).where(SignInRow.user_id == user_id, SignInRow.id.is_distinct_from(keep))
    await session.execute(delete(TokenRow).where(TokenRow.sign_in_id.in_(theirs)))
    await session.execute(
        update(SignInRow).where(SignInRow.id.in_(theirs), SignInRow.revoked_at.is_(None)).values(revoked_at=now)
    )


async def revoke_sso_sign_ins(session: AsyncSession, user_id: str, now: datetime) -> None:
    """End every login of a user that stands on the word of a provider: their tokens go at once."""
    theirs = select(SignInRow.id).where(SignInRow.user_id == user_id, SignInRow.method == Method.SSO)
    await session.execute(delete(TokenRow).where(TokenRow.sign_in_id.in_(theirs)))
    await session.execute(
        update(SignInRow).where(SignInRow.id.in_(theirs), SignInRow.revoked_at.is_(None)).values(revoked_at=now)
    )


async def delete_expired_tokens(session: AsyncSession, now: datetime) -> None:
    """Forget tokens that open nothing any more, the used refresh tokens among them only when they have expired."""
    await session.execute(delete(TokenRow).where(TokenRow.expires_at <= now))
