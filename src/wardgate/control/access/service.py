"""Sessions as people ask for them: granting, showing, terminating.

What gateways say of sessions is in `gateways.py`, what time does to them in `sweep.py`; all three change a session
through `lifecycle.Lifecycle` only.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ... import durations
from ...api.models import (
    EndReason,
    Page,
    Route,
    Session,
    SessionGrant,
    SessionRequest,
    SessionRoutes,
    SessionStatus,
    VerificationState,
)
from ...api.problems import ProblemCode, ProblemError
from ...api.sessions import Activity, SessionFilter
from ...errors import WardgateError
from ...ids import Kind
from ...net import certs
from ...numbers import Numbers
from ...secret import Secret
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, not_found
from ..identity.permissions import Permission
from ..mfa.changes import who
from ..paging import Paging, page_of
from ..resources.facts import AccountFacts
from ..sources import Sources
from ..vault import CertificateAuthority
from . import gates, store
from .activity import activity
from .describe import describe
from .lifecycle import Lifecycle
from .model import SessionRow
from .passwords import SessionPasswords
from .ports import Approvals, Catalogue, Factor, Fleet
from .states import LIVE

_HOURLY = 2  # days that an overview shows by the hour


class AccessService:
    """Access for people."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        numbers: Numbers,
        ca: CertificateAuthority,
        catalogue: Catalogue,
        fleet: Fleet,
        lifecycle: Lifecycle,
        passwords: SessionPasswords,
        factor: Factor,
        approvals: Approvals,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._numbers = numbers
        self._ca = ca
        self._catalogue = catalogue
        self._fleet = fleet
        self._lifecycle = lifecycle
        self._passwords = passwords
        self._factor = factor
        self._approvals = approvals

    # --- granting -------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, project_id: str, body: SessionRequest) -> SessionGrant:
        """Open a session if every gate is passed; the problem of the first that is not, otherwise."""
        wanted, key = _duration(body.duration), _public_key(body.csr)
        account = await self._account(actor, project_id, body)
        wish = gates.Wish(
            actor=actor,
            account=account,
            wanted=wanted,
            key=key,
            reason=body.reason,
            hostname=body.client.hostname,
            challenge_id=body.mfa_challenge,
            fleet=self._fleet,
            factor=self._factor,
            approvals=self._approvals,
        )
        try:
            await gates.pass_all(wish)
            granted, notices = _granted(wish, self._sources.now())
            row = self._row(wish, body, granted)
            routes, password = await self._begin(wish, row)
        except ProblemError as refused:
            asked = refused.problem.code is ProblemCode.MFA_REQUIRED and not actor.is_service
            if not asked:  # a question is no refusal
                await self._note_refusal(actor, account, refused)
            raise
        certificate = self._ca.issue_session(key, row.id, row.gateway_id, row.expires_at)
        return SessionGrant(
            session=describe(row, self._sources.now(), gateway_online=True),
            certificate=certs.to_pem(certificate, self._ca.intermediates["sessions"]).decode(),
            gateway_id=row.gateway_id,
            gateway_ca=certs.to_pem(self._ca.intermediates["gateways"]).decode(),
            routes=routes,
            granted_s=granted.total_seconds(),
            local_password=password.reveal_text(),
            notices=notices,
        )

    async def _begin(self, wish: gates.Wish, row: SessionRow) -> tuple[list[Route], Secret]:
        """Write the session, with its password, and find the ways to its gateway: all or nothing."""
        async with self._database.write() as session:
            if wish.account.require_mfa and wish.challenge_id is not None:
                await self._factor.consume(session, who(wish.actor), wish.challenge_id, wish.binding)
                row.mfa = True
            most = wish.account.max_sessions
            if most is not None and await store.count_live(session, row.account_id) >= most:
                raise ProblemError(
                    ProblemCode.TOO_MANY_SESSIONS,
                    f"The account {row.account} has {most} live {'session' if most == 1 else 'sessions'}, which is all "
                    "that it may have: wait until one ends.",
                )
            password = await self._passwords.make(session, row)
            await self._lifecycle.begin(session, row, wish.actor.cause)
            routes = await self._routes(session, row)
        return routes, password

    async def _account(self, actor: Actor, project_id: str, body: SessionRequest) -> AccountFacts:
        async with self._database.read() as session:
            facts = await self._catalogue.account_facts(session, project_id, body.resource, body.account)
        if facts is None:
            raise not_found(f"account {body.account} on a resource {body.resource}")
        return facts

    async def _note_refusal(self, actor: Actor, account: AccountFacts, refused: ProblemError) -> None:
        async with self._database.write() as session:
            await self._audit_log.append(
                session,
                actor.cause,
                Event.SESSION_REFUSED,
                account.account_id,
                project_id=account.project_id,
                details={"resource": account.resource, "account": account.account, "code": refused.code},
            )

    def _row(self, wish: gates.Wish, body: SessionRequest, granted: timedelta) -> SessionRow:
        actor, account, now = wish.actor, wish.account, self._sources.now()
        return SessionRow(
            id=self._sources.new_id(Kind.SESSION),
            project_id=account.project_id,
            resource_id=account.resource_id,
            resource=account.resource,
            account_id=account.account_id,
            account=account.account,
            user_id=actor.user_id,
            user=actor.email,
            sign_in_id=actor.sign_in_id,
            address=actor.cause.address,
            gateway_id=account.gateway_id,
            gateway=account.gateway,
            reason=body.reason,
            client=body.client.model_dump(),
            created_at=now,
            expires_at=now + granted,
            status=SessionStatus.STARTING,
            epoch=0,
            linked=True,
            commands=0,
            errors=0,
            verification=VerificationState.OPEN,
            local_auth=body.local_auth,
            grant_id=None if wish.grant is None else wish.grant.request_id,
        )

    # --- showing --------------------------------------------------------------------------------------------------

    async def get(self, actor: Actor, session_id: str) -> Session:
        """One session; ProblemError `not_found`."""
        async with self._database.read() as session:
            row = await self.visible(session, actor, session_id)
        return await self._describe(row)

    async def list_visible(
        self, actor: Actor, project_id: str, paging: Paging, asked: SessionFilter | None = None
    ) -> Page[Session]:
        """A project's sessions that the actor may see, newest first."""
        seen = store.Seen.by(actor, project_id)
        async with self._database.read() as session:
            rows = await store.newest(
                session, seen, asked or SessionFilter(), after=paging.after, limit=paging.limit + 1
            )
        online = {row.gateway_id: False for row in rows}
        for gateway_id in online:
            online[gateway_id] = await self._fleet.gateway_online(gateway_id)
        now = self._sources.now()
        return page_of(rows, paging, lambda row: describe(row, now, online[row.gateway_id]), lambda row: row.id)

    async def activity(self, actor: Actor, project_id: str, days: int) -> Activity:
        """What the project's sessions of the last `days` add up to, as far as the actor may see them: by the hour for
        up to two days, else by the day."""
        now = self._sources.now()
        step, begun = timedelta(hours=1), now.replace(minute=0, second=0, microsecond=0)
        if days > _HOURLY:
            step, begun = timedelta(days=1), begun.replace(hour=0)
        until = begun + step
        async with self._database.read() as session:
            seen = store.Seen.by(actor, project_id)
            return await activity(session, seen, until - timedelta(days=days), until, step)

    async def visible(self, session: AsyncSession, actor: Actor, session_id: str) -> SessionRow:
        """The session's row if the actor may see it; ProblemError `not_found`, as for one that is not there."""
        row = await store.by_id(session, session_id)
        if row is None or not _sees(actor, row):
            raise not_found(f"session {session_id[:64]}")
        return row

    async def _describe(self, row: SessionRow) -> Session:
        return describe(row, self._sources.now(), await self._fleet.gateway_online(row.gateway_id))

    async def routes(self, actor: Actor, session_id: str) -> SessionRoutes:
        """The ways to the gateway as they are now, for a local proxy that has lost it.

        Only for the session's own user, while the session lives and its account is still open to them; ProblemError
        `not_found`, `session_ended`, `forbidden`, `relay_unavailable`.
        """
        async with self._database.read() as session:
            row = await self.visible(session, actor, session_id)
            if row.user_id != actor.user_id:
                raise not_found(f"session {session_id[:64]}")
            if row.status not in LIVE or row.wanted_end is not None or row.expires_at <= self._sources.now():
                raise ProblemError(ProblemCode.SESSION_ENDED, "The session has ended, or is about to.")
            actor.require(
                Permission.ACCOUNT_OWN_SESSION_CREATE, scope_of(row), what=f"account {row.account} on {row.resource}"
            )
            return SessionRoutes(routes=await self._routes(session, row))

    async def _routes(self, session: AsyncSession, row: SessionRow) -> list[Route]:
        routes = await self._fleet.routes(session, row.gateway_id, row.id, row.expires_at)
        if not routes:
            raise ProblemError(
                ProblemCode.RELAY_UNAVAILABLE,
                f"No relay leads to the gateway {row.gateway} now, and it has no direct route: start a relay.",
            )
        return routes

    # --- ending ---------------------------------------------------------------------------------------------------

    async def terminate(self, actor: Actor, session_id: str) -> Session:
        """Have it ended; one that has ended already stays as it is."""
        async with self._database.write() as session:
            row = await self.visible(session, actor, session_id)
            own = Permission.ACCOUNT_OWN_SESSION_TERMINATE if row.user_id == actor.user_id else None
            if own is None or not actor.may(own, scope_of(row)):
                actor.require(Permission.ACCOUNT_SESSION_TERMINATE, scope_of(row), what=f"session {session_id}")
            message = f"Terminated by {actor.email}."
            await self._lifecycle.want_end(session, row, EndReason.TERMINATED, message, actor.cause)
        self._lifecycle.push(row)
        return await self._describe(row)

    async def abandon(self, actor: Actor, session_id: str) -> Session:
        """Its own user's CLI is done with it: it gave up before it was ready, or its gateway did not hear the end."""
        async with self._database.write() as session:
            row = await self.visible(session, actor, session_id)
            if row.user_id != actor.user_id:
                raise not_found(f"session {session_id[:64]}")
            if row.status is SessionStatus.STARTING:
                message = "The local proxy gave up before the session was ready."
                await self._lifecycle.want_end(session, row, EndReason.FAILED_TO_START, message, actor.cause)
            elif row.status is SessionStatus.ACTIVE:
                await self._lifecycle.want_end(session, row, EndReason.CLIENT_CLOSED, None, actor.cause)
        self._lifecycle.push(row)
        return await self._describe(row)


def scope_of(row: SessionRow) -> Scope:
    """The account that the session is on."""
    return Scope(row.project_id, row.resource_id, row.account_id)


def _sees(actor: Actor, row: SessionRow) -> bool:
    scope = scope_of(row)
    if row.user_id == actor.user_id and actor.may(Permission.ACCOUNT_OWN_SESSION_READ, scope):
        return True
    return actor.may(Permission.ACCOUNT_SESSION_READ, scope)


def _duration(text: str) -> timedelta:
    try:
        return durations.parse(text)
    except WardgateError as error:
        raise ProblemError(ProblemCode.INVALID_DURATION, error.message) from error


def _public_key(csr: str) -> certs.PublicKey:
    try:
        return certs.csr_public_key(csr.encode())
    except WardgateError as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, error.message) from error


def _granted(wish: gates.Wish, now: datetime) -> tuple[timedelta, list[str]]:
    """How long it is to last, and what to say where that is less than was asked for.

    ProblemError `approval_required` where the gates took so long that nothing is left of the grant.
    """
    granted, why = wish.longest, f"The account {wish.account.account} allows at most"
    if wish.grant is not None:
        granted, why = wish.grant.cut(granted, now), "The grant leaves"
        if granted <= timedelta():
            account = wish.account
            message = f"The grant for {account.account} on {account.resource} has just run out: ask for another."
            raise ProblemError(ProblemCode.APPROVAL_REQUIRED, message)
    if granted >= wish.wanted:
        return granted, []
    return granted, [f"{why} {durations.format(granted)}: that is what was granted."]
