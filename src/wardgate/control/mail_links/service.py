"""Inviting people, and letting those who forgot their password set another.

Laws: a link is 256 random bits, kept as a hash, good once and for a while; it sets a password and opens nothing else,
so a second factor stays what it was. Asking for a link is answered the same, after the same work, whether the address
is anybody's or not: what follows happens when the answer is out. Nobody's mailbox is filled by strangers: an address
gets three such mails, then one in twenty minutes. Without a mail server whatever needs one says so.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.people import UserDetails
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ...ids import Kind
from ...net import logs
from ...numbers import Numbers
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..identity import store as identities
from ..identity.actor import Actor
from ..identity.limits import TokenBuckets, network_of
from ..identity.model import UserRow
from ..identity.service import IdentityService, NewUser, normal_email
from ..identity.sign_ins import hash_of
from ..identity.users import UserService
from ..mail import Mailer
from ..sources import Sources
from . import letters
from .model import LinkKind, MailLinkRow

_PREFIX: Final = "wgl1_"
_TOKEN_BYTES: Final = 32
_MOST_AT_ONCE: Final = 100  # mails that wait to go out; more is a flood, and those who asked can ask again

_log = logs.get("control.mail_links")


class MailLinks:
    """`mailer` is None where no mail server is set."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        numbers: Numbers,
        identity: IdentityService,
        users: UserService,
        mailer: Mailer | None,
        public_url: str,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._numbers = numbers
        self._identity = identity
        self._users = users
        self._mailer = mailer
        self._public_url = public_url
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking = TokenBuckets(burst=20, per_second=1 / 30)
        self._mailing = TokenBuckets(burst=3, per_second=1 / 1_200)
        self._redeeming = TokenBuckets(burst=20, per_second=1 / 6)

    # --- inviting -------------------------------------------------------------------------------------------------

    async def invite(self, actor: Actor, email: str) -> UserDetails:
        """A user who sets their own password with a link by mail; said again before they have, it sends another.

        ProblemError `invalid_request`, `conflict`, or `mfa_unavailable` where no mail can be sent.
        """
        self._must_have_mail()
        address = normal_email(email)
        async with self._database.write() as session:
            row = await identities.user_by_email(session, address)
            if row is None:
                new = NewUser(self._sources.new_id(Kind.USER), address, None)
                await self._identity.add_user(session, actor.cause, new)
                row = await self._users.must_exist(session, new.id)
            elif row.password_hash is not None or await session.get(MailLinkRow, row.id) is None:
                raise ProblemError(ProblemCode.CONFLICT, f"There is already a user {address}.")
            token = await self._make(session, row, LinkKind.INVITATION, actor.user_id)
            details = {"email": row.email}
            await self._audit_log.append(session, actor.cause, Event.USER_INVITED, row.id, details=details)
        await self._send(row.email, *letters.invitation(self._url(token), token, actor.email, self._public_url))
        return await self._users.get(row.id)

    # --- forgotten passwords --------------------------------------------------------------------------------------

    async def ask(self, email: str, cause: Cause) -> None:
        """Somebody says that they have forgotten their password. It returns before anything is sent.

        ProblemError `rate_limited` by where they ask from, `mfa_unavailable` where no mail can be sent; neither says
        anything of the address.
        """
        self._must_have_mail()
        now = self._sources.now().timestamp()
        _ration(self._asking, network_of(cause.address or "unknown"), now)
        address = email.strip().lower()
        async with self._database.write() as session:
            user = await identities.user_by_email(session, address)
            target = None if user is None else user.id
            await self._audit_log.append(session, cause, Event.USER_PASSWORD_LINK_ASKED, target)
        if len(self._tasks) < _MOST_AT_ONCE and self._mailing.take(address, now) == 0:
            self._later(self._mail_link(target))

    async def send(self, actor: Actor, user: str) -> None:
        """An administrator has a link sent. ProblemError `not_found`, `conflict`, or `mfa_unavailable`."""
        self._must_have_mail()
        async with self._database.write() as session:
            row = await self._users.must_exist(session, user)
            if row.password_hash is None or row.disabled_at is not None:
                message = f"{row.email} has no password that could be set anew: invite them, or enable them, first."
                raise ProblemError(ProblemCode.CONFLICT, message)
            token = await self._make(session, row, LinkKind.PASSWORD, actor.user_id)
            await self._audit_log.append(session, actor.cause, Event.USER_PASSWORD_LINK_ASKED, row.id)
        await self._send(row.email, *letters.forgotten(self._url(token), token, self._public_url))

    async def _mail_link(self, user_id: str | None) -> None:
        """After the answer: to those who have a password and may use it."""
        if user_id is None:
            return
        async with self._database.write() as session:
            row = await identities.user_by_id(session, user_id)
            if row is None or row.password_hash is None or row.disabled_at is not None:
                return
            token = await self._make(session, row, LinkKind.PASSWORD, None)
        await self._send(row.email, *letters.forgotten(self._url(token), token, self._public_url))

    # --- setting the password -------------------------------------------------------------------------------------

    async def redeem(self, token: Secret, password: Secret, cause: Cause) -> None:
        """Set the password with a link's token, once; every sign-in of the user ends.

        ProblemError `link_over` for whatever does not hold, `rate_limited`, or what a new password is refused for.
        """
        network = network_of(cause.address or "unknown")
        _ration(self._redeeming, network, self._sources.now().timestamp())
        async with self._database.read() as session:
            _, row = await self._holding(session, token)  # before a password is hashed for nobody
        hashed = await self._identity.hash_password(password, row.email)
        async with self._database.write() as session:
            link, row = await self._holding(session, token)
            await session.delete(link)
            row.password_hash = hashed
            await identities.revoke_sign_ins(session, row.id, self._sources.now())
            who = replace(cause, actor=row.email, actor_id=row.id)
            details = {"email": row.email, "by": link.kind.value}
            await self._audit_log.append(session, who, Event.USER_PASSWORD_CHANGED, row.id, details=details)
        self._redeeming.give_back(network)
        self._users.rights_lost()
        if link.kind is LinkKind.PASSWORD:
            self._later(self._send(row.email, *letters.changed(self._public_url)))

    async def look(self, token: Secret) -> tuple[str, LinkKind]:
        """Whose link that is and what for, to show it; ProblemError `link_over`."""
        async with self._database.read() as session:
            link, row = await self._holding(session, token)
        return row.email, link.kind

    async def _holding(self, session: AsyncSession, token: Secret) -> tuple[MailLinkRow, UserRow]:
        query = (
            select(MailLinkRow, UserRow)
            .join(UserRow, UserRow.id == MailLinkRow.user_id)
            .where(MailLinkRow.hash == hash_of(token.reveal()), MailLinkRow.expires_at > self._sources.now())
        )
        found = (await session.execute(query)).one_or_none()
        if found is None or found[1].disabled_at is not None or found[0].stands_on != _stands_on(found[1]):
            raise ProblemError(
                ProblemCode.LINK_OVER, "That link is not good, or not any more: each works once and for a while."
            )
        return found[0], found[1]

    async def _make(self, session: AsyncSession, row: UserRow, kind: LinkKind, by: str | None) -> str:
        """A new link of a user, in place of the one before."""
        seconds = self._numbers.invitation if kind is LinkKind.INVITATION else self._numbers.password_link
        token = _PREFIX + base64.urlsafe_b64encode(self._sources.randomness(_TOKEN_BYTES)).rstrip(b"=").decode()
        now = self._sources.now()
        await session.execute(delete(MailLinkRow).where(MailLinkRow.user_id == row.id))
        session.add(
            MailLinkRow(
                user_id=row.id,
                hash=hash_of(token.encode()),
                kind=kind,
                stands_on=_stands_on(row),
                created_at=now,
                created_by=by,
                expires_at=now + timedelta(seconds=seconds),
            )
        )
        await session.flush()
        return token

    async def sweep(self) -> None:
        """Forget links to a forgotten password that are over; an invitation is kept, so that it can be sent again."""
        async with self._database.write() as session:
            over = MailLinkRow.expires_at <= self._sources.now(), MailLinkRow.kind == LinkKind.PASSWORD
            await session.execute(delete(MailLinkRow).where(*over))

    # --- mail -----------------------------------------------------------------------------------------------------

    def _url(self, token: str) -> str:
        return f"{self._public_url}/password?token={quote(token)}"

    def _must_have_mail(self) -> None:
        if self._mailer is None:
            raise ProblemError(
                ProblemCode.MFA_UNAVAILABLE,
                "This needs mail, and the control plane has no mail server: its operator sets WARDGATE_SMTP_URL.",
            )

    async def _send(self, to: str, subject: str, text: str) -> None:
        assert self._mailer is not None
        try:
            await self._mailer.send(to, subject, text)
        except WardgateError as error:
            raise ProblemError(ProblemCode.MFA_UNAVAILABLE, f"The mail could not be sent: {error.message}") from None

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_told(work), name="mail link")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until what was promised has been sent."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Drop what has not been sent: who asked can ask again."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _told(work: Coroutine[Any, Any, None]) -> None:
    """Run it; nobody waits for its failure but the log, which does not learn whom it was for."""
    try:
        await work
    except WardgateError as error:
        _log.error("a mail could not be sent", error=error.code)


def _stands_on(row: UserRow) -> bytes:
    return hashlib.sha256((row.password_hash or "").encode()).digest()


def _ration(buckets: TokenBuckets, key: str, now: float) -> None:
    wait = buckets.take(key, now)
    if wait > 0:
        seconds = max(1, round(wait))
        message = f"Too many attempts from here: wait {seconds} s and try again."
        raise ProblemError(ProblemCode.RATE_LIMITED, message, context={"retry_after_s": seconds})
