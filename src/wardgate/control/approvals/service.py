"""Asking for access and deciding on it.

Laws: nobody decides on their own request, whatever their roles, and no service on any; who asks must hold the role that
connects, for an approval comes on top of it; a decision is made once, under a lock; and a grant that is taken back ends
what stands on it, because `on_rights_lost` is told after the commit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ... import durations
from ...api.approvals import AccessRequest, AccessRequestCreate, RequestStatus
from ...api.models import Page
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ...ids import Kind
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, not_found
from ..identity.permissions import Permission
from ..paging import Paging, page_of
from ..resources import ResourceCatalogue
from ..resources.facts import AccountFacts
from ..sources import Sources
from . import store
from .grants import Grant
from .model import AccessRequestRow
from .states import allowed, effective

_WAITS = timedelta(hours=24)
_EVENTS = {
    RequestStatus.APPROVED: Event.REQUEST_APPROVED,
    RequestStatus.DENIED: Event.REQUEST_DENIED,
    RequestStatus.CANCELLED: Event.REQUEST_CANCELLED,
    RequestStatus.REVOKED: Event.REQUEST_REVOKED,
}


class ApprovalService:
    """Requests as people see them, and grants as access sees them."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources, catalogue: ResourceCatalogue) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._catalogue = catalogue
        self.on_rights_lost: list[Callable[[], None]] = []

    # --- asking ---------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, project_id: str, body: AccessRequestCreate) -> AccessRequest:
        """Ask. ProblemError `not_found`, `forbidden`, `invalid_duration`, or `conflict` where a request waits."""
        duration, window, now = _parse(body.duration), _parse(body.window), self._sources.now()
        async with self._database.write() as session:
            account = await self._account(session, actor, project_id, body.resource, body.account)
            waiting = await store.newest(session, actor.user_id, account.account_id, RequestStatus.PENDING)
            if waiting is not None and waiting.expires_at > now:
                raise ProblemError(
                    ProblemCode.CONFLICT,
                    f"You have asked for {account.account} already: {waiting.id} waits for a decision.",
                    context={"request_id": waiting.id},
                )
            row = self._row(actor, account, body.reason, duration, window)
            session.add(row)
            await session.flush()
            await self._note(session, actor, Event.REQUEST_CREATED, row)
            return self._describe(row)

    async def _account(
        self, session: AsyncSession, actor: Actor, project_id: str, resource: str, account: str
    ) -> AccountFacts:
        what = f"account {account} on a resource {resource}"
        facts = await self._catalogue.account_facts(session, project_id, resource, account)
        if facts is None:
            raise not_found(what)
        actor.require(Permission.ACCOUNT_OWN_SESSION_CREATE, facts.scope, what=what)
        return facts

    def _row(
        self, actor: Actor, account: AccountFacts, reason: str, duration: timedelta, window: timedelta
    ) -> AccessRequestRow:
        now = self._sources.now()
        if account.max_duration is not None:
            duration = min(duration, account.max_duration)
        return AccessRequestRow(
            id=self._sources.new_id(Kind.REQUEST),
            project_id=account.project_id,
            resource_id=account.resource_id,
            resource=account.resource,
            account_id=account.account_id,
            account=account.account,
            user_id=actor.user_id,
            user=actor.email,
            reason=reason,
            duration_s=int(duration.total_seconds()),
            window_s=int(window.total_seconds()),
            status=RequestStatus.PENDING,
            created_at=now,
            expires_at=now + _WAITS,
            note="",
        )

    # --- looking --------------------------------------------------------------------------------------------------

    async def page(self, actor: Actor, project_id: str, paging: Paging, *, pending: bool) -> Page[AccessRequest]:
        """One's own requests, and those that one may read."""
        readable = [b.scope for b in actor.bindings if b.permits(Permission.ACCOUNT_REQUEST_READ)]
        pending_at = self._sources.now() if pending else None
        async with self._database.read() as session:
            rows = await store.visible(
                session,
                project_id,
                actor.user_id,
                readable,
                pending_at=pending_at,
                after=paging.after,
                limit=paging.limit + 1,
            )
        return page_of(rows, paging, self._describe, lambda row: row.id)

    async def get(self, actor: Actor, request_id: str) -> AccessRequest:
        """One request; ProblemError `not_found`."""
        async with self._database.read() as session:
            return self._describe(await self._visible(session, actor, request_id))

    async def _visible(
        self, session: AsyncSession, actor: Actor, request_id: str, *, lock: bool = False
    ) -> AccessRequestRow:
        row = await store.by_id(session, request_id, lock=lock)
        if row is None or not (row.user_id == actor.user_id or actor.may(Permission.ACCOUNT_REQUEST_READ, _scope(row))):
            raise not_found(f"access request {request_id[:64]}")
        return row

    # --- deciding -------------------------------------------------------------------------------------------------

    async def approve(self, actor: Actor, request_id: str, note: str) -> AccessRequest:
        """Let them in, from now until the window ends."""
        return await self._decide(actor, request_id, RequestStatus.APPROVED, note)

    async def deny(self, actor: Actor, request_id: str, note: str) -> AccessRequest:
        """Don't; of a grant: take it back, and what stands on it ends."""
        return await self._decide(actor, request_id, RequestStatus.DENIED, note)

    async def _decide(self, actor: Actor, request_id: str, wanted: RequestStatus, note: str) -> AccessRequest:
        async with self._database.write() as session:
            row = await self._visible(session, actor, request_id, lock=True)
            actor.require(Permission.ACCOUNT_REQUEST_DECIDE, _scope(row), what=f"access request {request_id[:64]}")
            if actor.is_service:
                raise ProblemError(ProblemCode.FORBIDDEN, "A service decides on no request: that takes a person.")
            if row.user_id == actor.user_id:
                raise ProblemError(
                    ProblemCode.FORBIDDEN, "Nobody decides on their own request: ask another administrator."
                )
            if wanted is RequestStatus.DENIED and row.status is RequestStatus.APPROVED:
                wanted = RequestStatus.REVOKED
            described = await self._move(session, actor, row, wanted, note)
        self._tell(wanted)
        return described

    async def cancel(self, actor: Actor, request_id: str) -> AccessRequest:
        """Take one's own request back, or give one's own grant up."""
        async with self._database.write() as session:
            row = await self._visible(session, actor, request_id, lock=True)
            if row.user_id != actor.user_id:
                raise ProblemError(ProblemCode.FORBIDDEN, "A request is cancelled by who made it: deny it instead.")
            given_up = row.status is RequestStatus.APPROVED
            wanted = RequestStatus.REVOKED if given_up else RequestStatus.CANCELLED
            described = await self._move(session, actor, row, wanted, "")
        self._tell(wanted)
        return described

    async def _move(
        self, session: AsyncSession, actor: Actor, row: AccessRequestRow, wanted: RequestStatus, note: str
    ) -> AccessRequest:
        now = self._sources.now()
        present = effective(row.status, row.expires_at, now)
        if not allowed(present, wanted):
            raise ProblemError(ProblemCode.CONFLICT, f"The request {row.id} is {present.value} already.")
        row.status, row.decided_at, row.decided_by, row.note = wanted, now, actor.email, note
        if wanted is RequestStatus.APPROVED:
            row.until = now + timedelta(seconds=row.window_s)
        await session.flush()
        await self._note(session, actor, _EVENTS[wanted], row)
        return self._describe(row)

    def _tell(self, done: RequestStatus) -> None:
        if done is RequestStatus.REVOKED:
            for told in self.on_rights_lost:
                told()

    # --- for access -----------------------------------------------------------------------------------------------

    async def grant_for(self, user_id: str, account: AccountFacts) -> Grant:
        """The grant that lets a user into an account now; ProblemError `approval_required`, naming what waits."""
        now = self._sources.now()
        async with self._database.read() as session:
            found = await store.grants(session, user_id, account.account_id, now)
            waiting = await store.newest(session, user_id, account.account_id, RequestStatus.PENDING)
        if found:
            row = found[0]
            assert row.until is not None
            return Grant(row.id, timedelta(seconds=row.duration_s), row.until)
        if waiting is not None and waiting.expires_at > now:
            message = f"Access to {account.account} needs an approval: your request {waiting.id} waits for it."
            raise ProblemError(ProblemCode.APPROVAL_REQUIRED, message, context={"request_id": waiting.id})
        raise ProblemError(
            ProblemCode.APPROVAL_REQUIRED,
            f"Access to {account.account} on {account.resource} needs somebody's approval: ask with wardgate pam "
            "request create.",
        )

    async def still_granted(self, session: AsyncSession, request_id: str) -> bool:
        """Whether that grant still stands, for whoever asks again later, as a live session must."""
        row = await store.by_id(session, request_id)
        return row is not None and row.status is RequestStatus.APPROVED

    # --- parts ----------------------------------------------------------------------------------------------------

    def _describe(self, row: AccessRequestRow) -> AccessRequest:
        return AccessRequest(
            id=row.id,
            project_id=row.project_id,
            resource=row.resource,
            account=row.account,
            user=row.user,
            reason=row.reason,
            duration=durations.format(timedelta(seconds=row.duration_s)),
            window=durations.format(timedelta(seconds=row.window_s)),
            status=effective(row.status, row.expires_at, self._sources.now()),
            created_at=row.created_at,
            expires_at=row.expires_at,
            decided_at=row.decided_at,
            decided_by=row.decided_by,
            note=row.note,
            until=row.until,
        )

    async def _note(self, session: AsyncSession, actor: Actor, event: Event, row: AccessRequestRow) -> None:
        details = {
            "resource": row.resource,
            "account": row.account,
            "user": row.user,
            "reason": row.reason,
            "duration_s": row.duration_s,
            "window_s": row.window_s,
            "note": row.note,
        }
        await self._audit_log.append(session, actor.cause, event, row.id, project_id=row.project_id, details=details)


def _scope(row: AccessRequestRow) -> Scope:
    return Scope(row.project_id, row.resource_id, row.account_id)


def _parse(text: str) -> timedelta:
    try:
        return durations.parse(text)
    except WardgateError as error:
        raise ProblemError(ProblemCode.INVALID_DURATION, error.message) from None
