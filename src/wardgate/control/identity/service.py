"""Users and their passwords.

Law: a wrong password, an unknown address and a disabled user are answered by the same sentence after the same work.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import Tokens
from ...api.problems import FieldError, ProblemCode, ProblemError
from ...api.webauthn import PasskeyAssertion
from ...ids import Kind
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..sources import Sources
from . import known_passwords, store
from .actor import Binding, Scope
from .limits import LoginLimiter
from .model import Method, RoleBindingRow, UserRow
from .passwords import PasswordHasher
from .permissions import Role
from .sign_ins import BrowserToken, Device, Proof, SignInService

_FAMILIAR = timedelta(days=90)  # how long a place stays one that somebody signed in from
_LONGEST_EMAIL = 254  # RFC 5321's longest path


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who is about to be added; without a password they sign in by another way, or set one by a link."""

    id: str
    email: str
    password_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class MfaAnswer:
    """The answer to a challenge that an earlier attempt at this login was asked."""

    challenge_id: str
    answer: Secret | PasskeyAssertion


@dataclass(frozen=True, slots=True)
class HalfSignedIn:
    """Somebody who has shown who they are by `method`, for as long as their password stays theirs: `password` is a
    digest of its hash. `second_factor`: whoever judged them has asked for one; `ends_at` bounds the sign-in."""

    user_id: str
    password: str
    method: Method = Method.PASSWORD
    second_factor: bool = False
    ends_at: datetime | None = None


class SecondFactor(Protocol):
    """What a login needs of multi-factor authentication."""

    async def __call__(self, user_id: str, email: str, cause: Cause, answer: MfaAnswer | None) -> bool:
        """Whether `answer` was asked for and is right; ProblemError `mfa_required` and so on where it has to be."""


class IdentityService:
    """Everything about who somebody is."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        sign_ins: SignInService,
        hasher: PasswordHasher,
        limiter: LoginLimiter | None = None,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._sign_ins = sign_ins
        self._hasher = hasher
        self._limiter = limiter or LoginLimiter()
        # The wiring's to set, for these are later features: the factor that comes after a password, and whether a
        # password opens a sign-in for an address at all (it raises where it does not).
        self.second_factor: SecondFactor | None = None
        self.password_rule: Callable[[str], Awaitable[None]] | None = None

    # --- users ----------------------------------------------------------------------------------------------------

    async def create_user(self, cause: Cause, email: str, password: Secret) -> str:
        """A new user with no role; their id. ProblemError `invalid_request` or `conflict`."""
        new = await self.prepare_user(email, password)
        async with self._database.write() as session:
            await self.add_user(session, cause, new)
        return new.id

    async def prepare_user(self, email: str, password: Secret) -> NewUser:
        """What `add_user` takes: checked, and the password hashed, which is too slow for a `write()` block."""
        address = normal_email(email)
        return NewUser(self._sources.new_id(Kind.USER), address, await self.hash_password(password, address))

    async def hash_password(self, password: Secret, email: str = "") -> str:
        """What is kept of a new password of that user; too slow for a `write()` block. ProblemError `invalid_request`
        where everybody knows it."""
        if not password:
            raise ProblemError(ProblemCode.INVALID_REQUEST, "The password is empty.")
        why = known_passwords.why_not(password.reveal().decode(errors="replace"), email)
        if why is not None:
            error = FieldError(field="password", message=why)
            raise ProblemError(ProblemCode.INVALID_REQUEST, why, errors=[error])
        return await self._hasher.hash(password)

    async def add_user(self, session: AsyncSession, cause: Cause, new: NewUser) -> None:
        """Add a prepared user inside a caller's `write()` block; ProblemError `conflict`."""
        if await store.user_by_email(session, new.email) is not None:
            raise ProblemError(ProblemCode.CONFLICT, f"There is already a user {new.email}.")
        now = self._sources.now()
        session.add(UserRow(id=new.id, email=new.email, password_hash=new.password_hash, created_at=now))
        await session.flush()
        await self._audit_log.append(session, cause, Event.USER_CREATED, new.id, details={"email": new.email})

    async def grant(
        self, cause: Cause, holder_id: str, role: Role, scope: Scope, *, expires_at: datetime | None = None
    ) -> None:
        """Bind `role` to the user, group or service at `scope`."""
        async with self._database.write() as session:
            await self.grant_within(session, cause, holder_id, role, scope, expires_at=expires_at)

    async def grant_within(
        self,
        session: AsyncSession,
        cause: Cause,
        holder_id: str,
        role: Role,
        scope: Scope,
        *,
        expires_at: datetime | None = None,
    ) -> RoleBindingRow:
        """`grant` inside a caller's `write()` block."""
        row = RoleBindingRow(
            id=self._sources.new_id(Kind.BINDING),
            role=role,
            **{store.holder_column(holder_id): holder_id},
            project_id=scope.project_id,
            resource_id=scope.resource_id,
            account_id=scope.account_id,
            created_at=self._sources.now(),
            created_by=cause.actor_id,
            expires_at=expires_at,
        )
        session.add(row)
        await session.flush()
        await self._audit_log.append(
            session,
            cause,
            Event.ROLE_GRANTED,
            holder_id,
            project_id=scope.project_id,
            details={
                "role": role.value,
                "scope": str(scope),
                "expires_at": expires_at.isoformat() if expires_at else None,
            },
        )
        return row

    # --- logins ---------------------------------------------------------------------------------------------------

    async def login(
        self,
        email: str,
        password: Secret,
        cause: Cause,
        answer: MfaAnswer | None = None,
        *,
        device: Device = Device(),  # noqa: B008 - frozen
    ) -> Tokens:
        """Tokens for the right password, and the second factor where the organisation asks for it.

        ProblemError `invalid_credentials`, `rate_limited`, or what `second_factor` raises.
        """
        user, proof = await self._prove(email, password, cause, answer)
        async with self._database.write() as session:
            row = await self.must_stand(session, user)
            tokens, _ = await self._sign_ins.open(session, row, cause, proof, device)
        return tokens

    async def login_browser(
        self, email: str, password: Secret, cause: Cause, answer: MfaAnswer | None = None, *, name: str = ""
    ) -> BrowserToken:
        """As `login`, for a browser."""
        return await self.finish_browser(await self.begin_browser(email, password, cause), cause, answer, name=name)

    async def begin_browser(self, email: str, password: Secret, cause: Cause) -> HalfSignedIn:
        """The first half of `login_browser`; the second may come in a request of its own, without the password."""
        await self._password_must_do(email)
        user = await self.check_password(email, password, cause)
        return HalfSignedIn(user.id, mark_of(user))

    async def finish_browser(
        self, half: HalfSignedIn, cause: Cause, answer: MfaAnswer | None = None, *, name: str = ""
    ) -> BrowserToken:
        """The second half, which asks for the second factor; ProblemError as `login` raises it."""
        async with self._database.read() as session:
            user = await store.user_by_id(session, half.user_id)
        if user is None or user.disabled_at is not None or not hmac.compare_digest(mark_of(user), half.password):
            raise _invalid_credentials()
        proof = await self._second(user, cause, answer, half)
        async with self._database.write() as session:
            row = await self.must_stand(session, user)
            return await self._sign_ins.open_browser(session, row, cause, proof, name)

    async def _prove(
        self, email: str, password: Secret, cause: Cause, answer: MfaAnswer | None
    ) -> tuple[UserRow, Proof]:
        await self._password_must_do(email)
        user = await self.check_password(email, password, cause)
        return user, await self._second(user, cause, answer, HalfSignedIn(user.id, mark_of(user)))

    async def _second(self, user: UserRow, cause: Cause, answer: MfaAnswer | None, half: HalfSignedIn) -> Proof:
        cause = replace(cause, actor=user.email, actor_id=user.id)
        shown = half.second_factor
        if not shown and self.second_factor is not None:
            shown = await self.second_factor(user.id, user.email, cause, answer)
        return Proof(half.method, second_factor=shown, ends_at=half.ends_at)

    async def _password_must_do(self, email: str) -> None:
        if self.password_rule is not None:
            await self.password_rule(email)

    async def check_password(self, email: str, password: Secret, cause: Cause) -> UserRow:
        """Whose password that is. ProblemError `invalid_credentials` or `rate_limited`."""
        account, now = email.strip().lower(), self._sources.now()
        address = cause.address or "unknown"
        async with self._database.read() as session:
            user = await store.user_by_email(session, account)
            familiar = await store.is_familiar(session, address, now - _FAMILIAR)
        wait = self._limiter.take(address, account, now.timestamp(), familiar=familiar)
        if wait > 0:
            seconds = max(1, round(wait))
            raise ProblemError(
                ProblemCode.RATE_LIMITED,
                f"Too many attempts to log in from here: wait {seconds} s and try again.",
                context={"retry_after_s": seconds},
            )
        usable = user is not None and user.disabled_at is None
        phc = user.password_hash if user is not None else None
        right = await self._hasher.verify(password, phc, first=familiar)
        if user is None or not usable or not right:
            self._limiter.failed(account, now.timestamp())
            # Written for unknown addresses too, without what was typed: the time of a write must not tell them apart.
            async with self._database.write() as session:
                await self._audit_log.append(session, cause, Event.USER_LOGIN_FAILED, user.id if user else None)
            raise _invalid_credentials()
        self._limiter.succeeded(address, account)
        return user

    async def must_stand(self, session: AsyncSession, checked: UserRow) -> UserRow:
        """The user's row as it is now, in a `write()` block; ProblemError `invalid_credentials` if what
        `check_password` found no longer holds: checking is slow, and a reset or a removal meanwhile must count."""
        row = await store.user_by_id(session, checked.id, lock=True)
        if row is None or row.disabled_at is not None or row.password_hash != checked.password_hash:
            raise _invalid_credentials()
        return row

    async def standing_user(self, session: AsyncSession, user_id: str) -> UserRow | None:
        """The row of a user who may sign in, locked, in a `write()` block."""
        row = await store.user_by_id(session, user_id, lock=True)
        return None if row is None or row.disabled_at is not None else row

    async def has_password(self, session: AsyncSession, user_id: str) -> bool:
        """Whether the user has one; who comes by single sign-on has none."""
        row = await store.user_by_id(session, user_id)
        return row is not None and row.password_hash is not None

    async def user_bindings(self, session: AsyncSession, user_id: str) -> tuple[Binding, ...]:
        """What a user has now, nothing if disabled or gone: for whoever asks again later, as a live session must."""
        return await store.bindings(session, user_id, self._sources.now())


def normal_email(text: str) -> str:
    """`text` in lower case; ProblemError `invalid_request` if it can't be an address.

    Only what would confuse our own logs and tables is refused; whether mail arrives is for a mail server to say.
    """
    email = text.strip().lower()
    local, at, domain = email.rpartition("@")
    clean = len(email) <= _LONGEST_EMAIL and email.isprintable() and not any(char.isspace() for char in email)
    if not (at and local and domain and clean):
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"“{text[:80]}” is not an e-mail address.")
    return email


def mark_of(user: UserRow) -> str:
    """What tells one password of a user from the next, without being of use to guess it."""
    return hashlib.sha256((user.password_hash or "").encode()).hexdigest()


def _invalid_credentials() -> ProblemError:
    return ProblemError(ProblemCode.INVALID_CREDENTIALS, "The e-mail address or the password is wrong.")
