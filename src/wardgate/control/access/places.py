"""What records need to know of sessions, and what they keep up to date in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import SessionStatus, VerificationState
from ..identity.actor import Scope, not_found
from . import store
from .model import EpochRow, SessionRow


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """A session as its records see it. `epochs` maps each epoch's number to the gateway that was leased it, `holders`
    to the instance, where that is known."""

    session_id: str
    scope: Scope
    user_id: str
    ended: bool
    ended_at: datetime | None
    epochs: Mapping[int, str]
    holders: Mapping[int, str]
    verification: VerificationState
    resource: str = ""
    account: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a batch of records adds to its session."""

    commands: int = 0
    errors: int = 0
    documents_read: int = 0
    documents_changed: int = 0


@dataclass(frozen=True, slots=True)
class RecordStanding:
    """What of a session may have changed since its last records arrived."""

    ended: bool
    newest_epoch: int


# Built once: it runs for every batch that arrives.
_COUNT = (
    update(SessionRow.__table__)  # type: ignore[arg-type]
    .where(SessionRow.id == bindparam("session"))
    .values(
        commands=SessionRow.commands + bindparam("more_commands", type_=BigInteger()),
        errors=SessionRow.errors + bindparam("more_errors", type_=BigInteger()),
        documents_read=SessionRow.documents_read + bindparam("more_read", type_=BigInteger()),
        documents_changed=SessionRow.documents_changed + bindparam("more_changed", type_=BigInteger()),
    )
    .returning(
        SessionRow.status,
        select(func.max(EpochRow.epoch)).where(EpochRow.session_id == SessionRow.id).scalar_subquery().label("newest"),
    )
)


class SessionDirectory:
    """Looks sessions up for records, and keeps the counts that their rows show."""

    async def record_place(self, session: AsyncSession, session_id: str) -> RecordPlace | None:
        """Where the records of a session belong; None if there is no such session."""
        row = await store.by_id(session, session_id)
        if row is None:
            return None
        rows = list(await session.scalars(select(EpochRow).where(EpochRow.session_id == session_id)))
        return RecordPlace(
            session_id=row.id,
            scope=Scope(row.project_id, row.resource_id, row.account_id),
            user_id=row.user_id,
            ended=row.status is SessionStatus.ENDED,
            ended_at=row.ended_at,
            epochs={epoch.epoch: epoch.gateway_id for epoch in rows},
            holders={epoch.epoch: epoch.instance_id for epoch in rows if epoch.instance_id is not None},
            verification=row.verification,
            resource=row.resource,
            account=row.account,
            user=row.user,
        )

    async def must_find(self, session: AsyncSession, session_id: str) -> RecordPlace:
        """Where the records of a session belong; ProblemError `not_found`."""
        place = await self.record_place(session, session_id)
        if place is None:
            raise not_found(f"session {session_id[:64]}")
        return place

    async def record_counts(self, session: AsyncSession, session_id: str, counts: Counts) -> RecordStanding:
        """Add what arrived; how the session stands now."""
        values = {
            "session": session_id,
            "more_commands": counts.commands,
            "more_errors": counts.errors,
            "more_read": counts.documents_read,
            "more_changed": counts.documents_changed,
        }
        found = await session.execute(_COUNT, values)
        row = found.one()
        return RecordStanding(row.status is SessionStatus.ENDED, row.newest or 0)

    async def record_verification(self, session: AsyncSession, session_id: str, state: VerificationState) -> None:
        """Say what the check of the session's chain found."""
        await session.execute(update(SessionRow).where(SessionRow.id == session_id).values(verification=state))

    async def unverified(self, session: AsyncSession, limit: int) -> list[str]:
        """Ended sessions whose chain has not been judged yet, oldest first."""
        query = (
            select(SessionRow.id)
            .where(SessionRow.status == SessionStatus.ENDED, SessionRow.verification == VerificationState.OPEN)
            .order_by(SessionRow.id)
            .limit(limit)
        )
        return list(await session.scalars(query))
