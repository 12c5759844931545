"""Setting second factors up and taking them away, and the organisation's rule.

Law: a stolen token is not enough to change a factor. The first one needs the password; where there is one, any change
needs a code of it. A factor counts only after a code of it was shown. What an administrator can do for somebody is take
all factors away (`reset`); nobody sets one up for another.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import MfaKind, MfaMethod, MfaPolicy, MfaStatus, RecoveryCodes, TotpEnrolment
from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, not_found
from ..identity.service import IdentityService
from ..identity.users import UserService
from ..sources import Sources
from ..vault import Vault
from . import codes, store
from .model import MfaMethodRow
from .verification import GOOD_FOR, Verification, Who

_UNCONFIRMED = timedelta(minutes=10)
ISSUER = "wardgate"


class MfaService:
    """Everything about factors but the challenges."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        vault: Vault,
        identity: IdentityService,
        users: UserService,
        verification: Verification,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._identity = identity
        self._users = users
        self._verification = verification

    async def status(self, actor: Actor) -> MfaStatus:
        """How the actor's second factor stands."""
        async with self._database.read() as session:
            rule = await store.policy(session)
            return MfaStatus(
                kind=await self._verification.kind_for(session, actor.user_id),
                methods=[_describe(row) for row in await store.methods(session, actor.user_id)],
                recovery_codes_left=await store.recovery_codes_left(session, actor.user_id),
                enforced=rule.enforced,
                at_sign_in=rule.at_sign_in,
            )

    # --- an authenticator app -------------------------------------------------------------------------------------

    async def begin_totp(self, actor: Actor, password: Secret, code: Secret | None) -> TotpEnrolment:
        """A new secret, which counts once a code of it was shown. It will replace the present app, if there is one."""
        await self._identity.check_password(actor.email, password, actor.cause)
        secret, now = self._sources.randomness(codes.SECRET_BYTES), self._sources.now()
        row = MfaMethodRow(
            id=f"mfa_{self._sources.randomness(16).hex()}", user_id=actor.user_id, kind=MfaKind.TOTP, created_at=now
        )
        async with self._database.read() as session:
            present = await store.totp_method(session, actor.user_id)
        if present is not None:
            await self._prove(actor, code)
        async with self._database.write() as session:
            if present is None and await store.totp_method(session, actor.user_id) is not None:
                raise _wrong()  # one was set up just now
            table = MfaMethodRow.__tablename__
            row.sealed_secret = await self._vault.seal(session, None, table, row.id, "sealed_secret", secret)
            session.add(row)
        return TotpEnrolment(id=row.id, secret=codes.totp_text(secret), uri=codes.totp_uri(secret, ISSUER, actor.email))

    async def confirm_totp(self, actor: Actor, method_id: str, code: Secret) -> RecoveryCodes:
        """A code of the new app makes it count, and the only one. ProblemError `not_found` or `mfa_code_wrong`."""
        now = self._sources.now()
        async with self._database.write() as session:
            row = await store.method(session, actor.user_id, method_id)
            if row is None or row.confirmed_at is not None or row.created_at + _UNCONFIRMED <= now:
                raise not_found("authenticator app that waits for its first code")
            secret = await self._verification.open_secret(session, row)
            step = codes.totp_step(secret.reveal(), code.reveal_text(), now.timestamp(), row.last_step)
            if step is None:
                raise ProblemError(
                    ProblemCode.MFA_CODE_WRONG,
                    "That is not the code that the app shows now: is the phone's clock right?",
                )
            row.last_step, row.confirmed_at, row.last_used_at = step, now, now
            await session.flush()
            await store.delete_methods(session, actor.user_id, but=row.id)
            await self._audit_log.append(
                session, actor.cause, Event.MFA_METHOD_ADDED, actor.user_id, details={"kind": row.kind.value}
            )
            return await self._recovery_codes(session, actor)

    async def recovery_codes(self, actor: Actor, code: Secret) -> RecoveryCodes:
        """New recovery codes in place of the old ones."""
        await self._prove(actor, code)
        async with self._database.write() as session:
            return await self._recovery_codes(session, actor)

    async def remove(self, actor: Actor, method_id: str, code: Secret) -> None:
        """Take a factor of one's own away."""
        async with self._database.read() as session:
            row = await store.method(session, actor.user_id, method_id)
        if row is None or row.confirmed_at is None:
            raise not_found(f"second factor {method_id[:64]} of yours")
        await self._prove(actor, code)
        async with self._database.write() as session:
            await self._forget(session, actor, actor.user_id, Event.MFA_METHOD_REMOVED)

    async def reset(self, actor: Actor, user: str) -> None:
        """Take all factors of somebody away: the device is lost, and so are the recovery codes."""
        async with self._database.write() as session:
            row = await self._users.must_exist(session, user)
            await self._forget(session, actor, row.id, Event.MFA_RESET)

    async def _forget(self, session: AsyncSession, actor: Actor, user_id: str, event: Event) -> None:
        await store.delete_methods(session, user_id)
        await store.replace_recovery_codes(session, user_id, [], self._sources.now())
        await self._audit_log.append(session, actor.cause, event, user_id)

    async def _prove(self, actor: Actor, code: Secret | None) -> None:
        """A code of the present factor. Its use is committed alone, so that the code is spent whatever comes after."""
        if code is None:
            raise _wrong()
        async with self._database.write() as session:
            right = await self._verification.check(session, who(actor), code)
        if not right:
            raise _wrong()

    async def _recovery_codes(self, session: AsyncSession, actor: Actor) -> RecoveryCodes:
        made = [codes.recovery_code(self._sources.randomness(10)) for _ in range(codes.RECOVERY_CODES)]
        hashes = [codes.hash_of(code, actor.user_id) for code in made]
        await store.replace_recovery_codes(session, actor.user_id, hashes, self._sources.now())
        await self._audit_log.append(session, actor.cause, Event.MFA_RECOVERY_CODES_MADE, actor.user_id)
        return RecoveryCodes(codes=made)

    # --- the organisation's rule ----------------------------------------------------------------------------------

    async def policy(self) -> MfaPolicy:
        """The rule."""
        async with self._database.read() as session:
            return await store.policy(session)

    async def set_policy(self, actor: Actor, wanted: MfaPolicy) -> MfaPolicy:
        """Change the rule; ProblemError `conflict` where that would lock the one who asks out."""
        async with self._database.write() as session:
            before = await store.policy(session)
            await store.set_policy(session, wanted)
            if wanted.at_sign_in and await self._verification.kind_for(session, actor.user_id, signing_in=True) is None:
                raise ProblemError(
                    ProblemCode.CONFLICT,
                    "You could not sign in any more: set an authenticator app up for yourself first, with wardgate mfa "
                    "totp.",
                )
            details = {"before": before.model_dump(mode="json"), "after": wanted.model_dump(mode="json")}
            await self._audit_log.append(session, actor.cause, Event.MFA_POLICY_CHANGED, details=details)
        return wanted

    async def sweep(self) -> None:
        """Forget what is over; run now and then."""
        now = self._sources.now()
        async with self._database.write() as session:
            await store.delete_old(session, now - GOOD_FOR, now - _UNCONFIRMED)


def who(actor: Actor) -> Who:
    """The actor as challenges know them."""
    return Who(actor.user_id, actor.email, actor.sign_in_id, actor.cause)


def _describe(row: MfaMethodRow) -> MfaMethod:
    return MfaMethod(id=row.id, kind=row.kind, created_at=row.created_at, last_used_at=row.last_used_at)


def _wrong() -> ProblemError:
    return ProblemError(
        ProblemCode.MFA_CODE_WRONG, "This needs a code of your present second factor, or a recovery code."
    )
