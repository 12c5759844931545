"""Sign-ins: one for each device on which somebody is logged in, and the tokens that stand for it.

What it is not: the judge of passwords, factors or providers. Whoever judged them says so in a `Proof`, and `open` makes
the sign-in of it. Law: tokens are 256 random bits, shown once and kept as hashes; a refresh token works once, and a
second use ends the whole sign-in, because one of its two users is a thief. A browser has one token, which opens pages
and nothing else, and a token of the API opens no page. No token outlives `ends_at` of its sign-in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.journal import SignIn
from ...api.models import RoleBinding, Tokens, User
from ...api.problems import ProblemCode, ProblemError
from ...ids import Kind, is_id
from ...numbers import Numbers
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..sources import Sources
from . import store
from .actor import Actor, Binding, not_found
from .model import DeviceKind, Method, SignInRow, TokenKind, TokenRow, UserRow

_TOKEN_BYTES = 32
_PREFIXES = {TokenKind.ACCESS: "wga1_", TokenKind.BROWSER: "wgb1_", TokenKind.REFRESH: "wgr1_"}
_NOTED = timedelta(minutes=1)  # a use is written down that much later at most: a write for each request costs too much
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Proof:
    """How somebody has shown who they are: by `method`, and by a second factor where `second_factor` says so.

    `ends_at` bounds the sign-in, as a provider of single sign-on does. `approved_by` is the sign-in at another device
    that let this one in.
    """

    method: Method
    second_factor: bool = False
    ends_at: datetime | None = None
    approved_by: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """What is signed in; `name` is what it calls itself, which nobody has verified."""

    kind: DeviceKind = DeviceKind.COMMAND_LINE
    name: str = ""


@dataclass(frozen=True, slots=True)
class BrowserToken:
    """What a browser's cookie holds, and until when it can be good at most."""

    token: Secret
    sign_in_id: str
    ends_at: datetime


class SignInService:
    """Opening, using, listing and ending them."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources, numbers: Numbers) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._numbers = numbers
        self.on_rights_lost: list[Callable[[], None]] = []

    # --- opening --------------------------------------------------------------------------------------------------

    async def open(
        self, session: AsyncSession, user: UserRow, cause: Cause, proof: Proof, device: Device
    ) -> tuple[Tokens, str]:
        """A sign-in of a program, inside the caller's `write()` block, which has looked that `user` still stands;
        its tokens and its id."""
        row = await self._add(session, user, cause, proof, device, proof.ends_at)
        return await self._issue(session, user, row), row.id

    async def open_browser(
        self, session: AsyncSession, user: UserRow, cause: Cause, proof: Proof, name: str
    ) -> BrowserToken:
        """A sign-in of a browser, inside the caller's `write()` block, which has looked that `user` still stands."""
        longest = self._sources.now() + timedelta(seconds=self._numbers.browser_sign_in)
        ends_at = longest if proof.ends_at is None else min(longest, proof.ends_at)
        row = await self._add(session, user, cause, proof, Device(DeviceKind.BROWSER, name), ends_at)
        token = self._token(session, TokenKind.BROWSER, row, timedelta(seconds=self._numbers.browser_idle))
        await session.flush()
        return BrowserToken(Secret(token), row.id, ends_at)

    async def _add(
        self,
        session: AsyncSession,
        user: UserRow,
        cause: Cause,
        proof: Proof,
        device: Device,
        ends_at: datetime | None,
    ) -> SignInRow:
        now = self._sources.now()
        row = SignInRow(
            id=self._sources.randomness(16).hex(),
            user_id=user.id,
            created_at=now,
            refreshed_at=now,
            address=cause.address,
            kind=device.kind,
            name=clean_name(device.name),
            method=proof.method,
            second_factor=proof.second_factor,
            approved_by=proof.approved_by,
            used_at=now,
            used_address=cause.address,
            proof_ends_at=proof.ends_at,
            ends_at=ends_at,
        )
        session.add(row)
        await session.flush()
        details = {
            "sign_in": row.id,
            "device": row.kind.value,
            "name": row.name,
            "method": row.method.value,
            "second_factor": row.second_factor,
            "approved_by": row.approved_by,
        }
        who = replace(cause, actor=user.email, actor_id=user.id)
        await self._audit_log.append(session, who, Event.USER_LOGGED_IN, user.id, details=details)
        return row

    # --- using ----------------------------------------------------------------------------------------------------

    async def authenticate(self, token: str, cause: Cause, kind: TokenKind = TokenKind.ACCESS) -> Actor:
        """The actor behind a token of that kind; ProblemError `not_logged_in`."""
        now = self._sources.now()
        async with self._database.read() as session:
            found = await store.live_sign_in(session, hash_of(token.encode()), kind, now)
            if found is None:
                raise not_logged_in()
            user, sign_in, row = found
            held = await store.bindings(session, user.id, now)
        if sign_in.used_at is None or now - sign_in.used_at >= _NOTED:
            await self._note_use(sign_in, row, cause, now)
        cause = replace(cause, actor=user.email, actor_id=user.id)
        return Actor(user.id, user.email, sign_in.id, cause, held)

    async def _note_use(self, sign_in: SignInRow, token: TokenRow, cause: Cause, now: datetime) -> None:
        """Write down when and from where it was last used; a browser that is used stays signed in."""
        same = SignInRow.used_at.is_not_distinct_from(sign_in.used_at)
        async with self._database.write() as session:
            await session.execute(
                update(SignInRow)
                .where(SignInRow.id == sign_in.id, same)  # of several requests at once, one writes
                .values(used_at=now, used_address=cause.address)
            )
            if token.kind is TokenKind.BROWSER:
                until = self._until(sign_in, now + timedelta(seconds=self._numbers.browser_idle))
                await session.execute(update(TokenRow).where(TokenRow.hash == token.hash).values(expires_at=until))

    async def refresh(self, refresh_token: Secret, cause: Cause) -> Tokens:
        """The next pair of tokens. A refresh token that was used before ends its sign-in."""
        now = self._sources.now()
        async with self._database.write() as session:
            found = await store.live_sign_in(session, hash_of(refresh_token.reveal()), TokenKind.REFRESH, now)
            if found is None:
                raise not_logged_in()
            user, sign_in, token = found
            if token.used_at is None:
                token.used_at = now
                sign_in.refreshed_at = sign_in.used_at = now
                sign_in.used_address = cause.address
                return await self._issue(session, user, sign_in)
            await store.revoke_sign_in(session, sign_in.id, now)
            await self._audit_log.append(
                session, cause, Event.USER_TOKEN_REUSED, user.id, details={"sign_in": sign_in.id}
            )
        self._rights_lost()
        raise not_logged_in()  # after the commit: raised inside, it would undo the revocation

    async def standing(self, session: AsyncSession, sign_in_id: str) -> SignInRow | None:
        """A sign-in that has not ended."""
        row = await session.get(SignInRow, sign_in_id)
        over = row is None or row.revoked_at is not None
        if row is None or over or (row.ends_at is not None and row.ends_at <= self._sources.now()):
            return None
        return row

    async def was_ended(self, session: AsyncSession, sign_in_id: str) -> bool:
        """Whether somebody has ended that sign-in."""
        row = await session.get(SignInRow, sign_in_id)
        return row is not None and row.revoked_at is not None

    async def must_be_fresh(self, session: AsyncSession, actor: Actor, *, second_factor: bool = False) -> SignInRow:
        """The actor's sign-in, if they showed a moment ago, at this very device, who they are (with a second factor
        where asked for): what a stolen token must not do. ProblemError `fresh_sign_in_required`."""
        row = await self.standing(session, actor.sign_in_id)
        limit = timedelta(seconds=self._numbers.fresh_sign_in)
        shown = row is not None and row.approved_by is None and (row.second_factor or not second_factor)
        if row is not None and shown and self._sources.now() - row.created_at <= limit:
            return row
        raise ProblemError(
            ProblemCode.FRESH_SIGN_IN_REQUIRED,
            "This needs a sign-in of the last few minutes"
            + (", with a second factor" if second_factor else "")
            + ": sign in again and repeat it.",
        )

    # --- listing and ending ---------------------------------------------------------------------------------------

    async def page(self, user_id: str, *, current: str | None = None) -> list[SignIn]:
        """The devices that are signed in as a user, the newest use first."""
        async with self._database.read() as session:
            rows = await store.live_sign_ins(session, user_id, self._sources.now())
        return [_describe(row, current) for row in rows]

    async def rename(self, actor: Actor, sign_in_id: str, name: str) -> SignIn:
        """Call one of the actor's devices something else; ProblemError `not_found`."""
        async with self._database.write() as session:
            row = await self._of(session, actor.user_id, sign_in_id)
            row.name = clean_name(name)
            await session.flush()
            return _describe(row, actor.sign_in_id)

    async def end(self, actor: Actor, sign_in_id: str, *, user_id: str | None = None) -> None:
        """Sign a device out: the actor's own, or one of `user_id`; its sessions end. ProblemError `not_found`."""
        whose = user_id or actor.user_id
        async with self._database.write() as session:
            row = await self._of(session, whose, sign_in_id)
            await store.revoke_sign_in(session, row.id, self._sources.now())
            details = {"sign_in": row.id, "name": row.name}
            await self._audit_log.append(session, actor.cause, Event.USER_LOGGED_OUT, whose, details=details)
        self._rights_lost()

    async def end_others(self, actor: Actor) -> None:
        """Sign every device of the actor out but the one that asks."""
        async with self._database.write() as session:
            await store.revoke_sign_ins(session, actor.user_id, self._sources.now(), keep=actor.sign_in_id)
            details = {"but": actor.sign_in_id}
            await self._audit_log.append(session, actor.cause, Event.USER_LOGGED_OUT, actor.user_id, details=details)
        self._rights_lost()

    def _rights_lost(self) -> None:
        for told in self.on_rights_lost:
            told()

    async def _of(self, session: AsyncSession, user_id: str, sign_in_id: str) -> SignInRow:
        row = await session.get(SignInRow, sign_in_id)
        if row is None or row.user_id != user_id or row.revoked_at is not None:
            raise not_found("such device")
        return row

    async def sweep(self) -> None:
        """Forget expired tokens; run now and then."""
        async with self._database.write() as session:
            await store.delete_expired_tokens(session, self._sources.now())

    # --- tokens ---------------------------------------------------------------------------------------------------

    async def _issue(self, session: AsyncSession, user: UserRow, row: SignInRow) -> Tokens:
        now, access = self._sources.now(), timedelta(seconds=self._numbers.access_token)
        made = Tokens(
            access_token=self._token(session, TokenKind.ACCESS, row, access),
            refresh_token=self._token(session, TokenKind.REFRESH, row, timedelta(seconds=self._numbers.refresh_token)),
            expires_at=self._until(row, now + access),
            user=describe(user.id, user.email, await store.bindings(session, user.id, now)),
        )
        await session.flush()
        return made

    def _token(self, session: AsyncSession, kind: TokenKind, row: SignInRow, lifetime: timedelta) -> str:
        now = self._sources.now()
        random = base64.urlsafe_b64encode(self._sources.randomness(_TOKEN_BYTES)).rstrip(b"=").decode()
        token = _PREFIXES[kind] + random
        until = self._until(row, now + lifetime)
        session.add(
            TokenRow(hash=hash_of(token.encode()), kind=kind, sign_in_id=row.id, created_at=now, expires_at=until)
        )
        return token

    @staticmethod
    def _until(row: SignInRow, wanted: datetime) -> datetime:
        return wanted if row.ends_at is None else min(wanted, row.ends_at)


def clean_name(name: str) -> str:
    """A device's name as it is kept and shown: one line of printable characters."""
    kept = "".join(char if char.isprintable() else " " for char in name)
    return " ".join(kept.split())[:_LONGEST_NAME]


def describe(user_id: str, email: str, held: tuple[Binding, ...]) -> User:
    """A user, or a service with its name, as the API shows them."""
    kind: Literal["service", "user"] = "service" if is_id(user_id, Kind.SERVICE) else "user"
    return User(id=user_id, kind=kind, email=email, roles=roles_of(held))


def roles_of(held: Iterable[Binding]) -> list[RoleBinding]:
    """Roles as the API shows them."""
    return [RoleBinding(role=b.role.value, scope=str(b.scope), group=b.group) for b in held]


def hash_of(token: bytes) -> bytes:
    """What is kept of a token: it is 256 random bits, so a plain hash can't be searched."""
    return hashlib.sha256(token).digest()


def not_logged_in() -> ProblemError:
    """The one sentence for every token that opens nothing."""
    return ProblemError(
        ProblemCode.NOT_LOGGED_IN, "This login is not valid, or not any more: run wardgate login again."
    )


def _describe(row: SignInRow, current: str | None) -> SignIn:
    return SignIn(
        id=row.id,
        kind=row.kind.value,
        name=row.name,
        method=row.method.value,
        second_factor=row.second_factor,
        created_at=row.created_at,
        refreshed_at=row.refreshed_at,
        used_at=row.used_at or row.refreshed_at,
        address=row.used_address or row.address,
        ends_at=row.ends_at,
        current=row.id == current,
    )
