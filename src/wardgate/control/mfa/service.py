"""One's own second factors: how they stand, the authenticator app, and taking them away; and the organisation's rule.

Law: who may change a factor is `changes`' to say. A factor counts only after an answer of it was shown. Taking the last
one away is refused where that would lock its user out. What an administrator can do for somebody is take all factors
away (`reset`); nobody sets one up for another.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import (
    FactorChange,
    MfaKind,
    MfaMethod,
    MfaPolicy,
    MfaPolicyUpdate,
    MfaStatus,
    Proof,
    RecoveryCodes,
    SetUpRequest,
    TotpEnrolment,
)
from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, not_found
from ..identity.service import IdentityService
from ..identity.users import UserService
from ..sources import Sources
from ..vault import Vault
from . import codes, recovery, store
from .changes import Changes, needs_proof
from .enrolment import no_site
from .model import MfaMethodRow, PasskeyRow, Purpose
from .passkeys import Passkeys
from .passkeys import describe as describe_passkey
from .verification import GOOD_FOR, Verification

_UNCONFIRMED = timedelta(minutes=10)
ISSUER = "wardgate"


class MfaService:
    """Everything about factors but the challenges and the enrolment of passkeys."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        vault: Vault,
        identity: IdentityService,
        users: UserService,
        verification: Verification,
        passkeys: Passkeys,
        changes: Changes,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._identity = identity
        self._users = users
        self._verification = verification
        self._passkeys = passkeys
        self._changes = changes

    async def status(self, actor: Actor) -> MfaStatus:
        """How the actor's second factors stand."""
        if actor.is_service:
            raise ProblemError(ProblemCode.FORBIDDEN, "A service has no second factors.")
        async with self._database.read() as session:
            rule = await store.policy(session)
            kinds = await self._verification.kinds_for(session, actor.user_id, Purpose.ACCESS)
            apps = [_describe(row) for row in await store.methods(session, actor.user_id)]
            passkeys = [describe_passkey(row) for row in await self._passkeys.usable(session, actor.user_id)]
            return MfaStatus(
                kind=kinds[0] if kinds else None,
                methods=sorted(apps + passkeys, key=lambda method: method.created_at),
                recovery_codes_left=await store.recovery_codes_left(session, actor.user_id),
                enforced=rule.enforced,
                at_sign_in=rule.at_sign_in,
                has_password=await self._identity.has_password(session, actor.user_id),
                passkeys_at=self._passkeys.origin,
            )

    # --- an authenticator app -------------------------------------------------------------------------------------

    async def begin_totp(self, actor: Actor, body: SetUpRequest) -> TotpEnrolment:
        """A new secret, which counts once a code of it was shown. It will replace the present app, if there is one."""
        await self._changes.must_be_themselves(
            actor, None if body.password is None else Secret(body.password.get_secret_value())
        )
        proved = await self._changes.must_be_proved(actor, body, FactorChange.ADD_TOTP)
        secret, now = self._sources.randomness(codes.SECRET_BYTES), self._sources.now()
        row = MfaMethodRow(
            id=f"mfa_{self._sources.randomness(16).hex()}", user_id=actor.user_id, kind=MfaKind.TOTP, created_at=now
        )
        async with self._database.write() as session:
            if not proved and await self._verification.own_kinds(session, actor.user_id):
                raise needs_proof()  # one was set up just now
            table = MfaMethodRow.__tablename__
            row.sealed_secret = await self._vault.seal(session, None, table, row.id, "sealed_secret", secret)
            session.add(row)
        return TotpEnrolment(id=row.id, secret=codes.totp_text(secret), uri=codes.totp_uri(secret, ISSUER, actor.email))

    async def confirm_totp(self, actor: Actor, method_id: str, code: Secret) -> RecoveryCodes:
        """A code of the new app makes it count, and the only app. ProblemError `not_found` or `mfa_code_wrong`."""
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
            return RecoveryCodes(codes=await recovery.make(session, self._sources, self._audit_log, actor))

    async def recovery_codes(self, actor: Actor, proof: Proof) -> RecoveryCodes:
        """New recovery codes in place of the old ones."""
        await self._must_be_proved(actor, proof, FactorChange.RECOVERY_CODES)
        async with self._database.write() as session:
            return RecoveryCodes(codes=await recovery.make(session, self._sources, self._audit_log, actor))

    # --- taking away ----------------------------------------------------------------------------------------------

    async def remove(self, actor: Actor, method_id: str, proof: Proof) -> None:
        """Take a factor of one's own away. ProblemError `not_found`, `mfa_code_wrong`, `mfa_challenge_over` or
        `conflict`."""
        async with self._database.read() as session:
            await self._own(session, actor, method_id)
        await self._must_be_proved(actor, proof, FactorChange.REMOVE, method_id)
        async with self._database.write() as session:
            row = await self._own(session, actor, method_id)
            details = {"kind": "totp" if isinstance(row, MfaMethodRow) else "passkey", "id": row.id}
            if isinstance(row, PasskeyRow):
                details["name"] = row.name
            await session.delete(row)
            await session.flush()
            await self._must_leave_a_way(session, actor)
            if not await self._verification.own_kinds(session, actor.user_id):
                await store.replace_recovery_codes(session, actor.user_id, [], self._sources.now())
            await self._audit_log.append(session, actor.cause, Event.MFA_METHOD_REMOVED, actor.user_id, details=details)

    async def _own(self, session: AsyncSession, actor: Actor, method_id: str) -> MfaMethodRow | PasskeyRow:
        app = await store.method(session, actor.user_id, method_id)
        row = app if app is not None and app.confirmed_at is not None else None
        found = row or await store.passkey(session, actor.user_id, method_id)
        if found is None:
            raise not_found(f"second factor {method_id[:64]} of yours")
        return found

    async def _must_leave_a_way(self, session: AsyncSession, actor: Actor) -> None:
        rule = await store.policy(session)
        own = await self._verification.own_kinds(session, actor.user_id)
        if rule.enforced not in (None, MfaKind.EMAIL, *own):
            raise ProblemError(
                ProblemCode.CONFLICT,
                "Your organisation insists on that kind of second factor and this is your last one: set another up "
                "first.",
            )
        if rule.at_sign_in and not await self._verification.kinds_for(session, actor.user_id, Purpose.SIGN_IN):
            raise ProblemError(
                ProblemCode.CONFLICT,
                "You could not sign in any more: that is your last second factor, and one is asked for at every "
                "sign-in. Set another up first.",
            )

    async def _must_be_proved(
        self, actor: Actor, proof: Proof, change: FactorChange, method: str | None = None
    ) -> None:
        if not await self._changes.must_be_proved(actor, proof, change, method):
            raise needs_proof()

    async def reset(self, actor: Actor, user: str) -> None:
        """Take all factors of somebody away: the devices are lost, and so are the recovery codes."""
        async with self._database.write() as session:
            row = await self._users.must_exist(session, user)
            await store.delete_methods(session, row.id)
            await store.delete_passkeys(session, row.id)
            await store.replace_recovery_codes(session, row.id, [], self._sources.now())
            await self._audit_log.append(session, actor.cause, Event.MFA_RESET, row.id)

    # --- the organisation's rule ----------------------------------------------------------------------------------

    async def policy(self) -> MfaPolicy:
        """The rule."""
        async with self._database.read() as session:
            return await store.policy(session)

    async def set_policy(self, actor: Actor, body: MfaPolicyUpdate) -> MfaPolicy:
        """Change the rule; ProblemError `conflict` where that would lock the one who asks out."""
        if body.enforced is MfaKind.PASSKEY and self._passkeys.party is None:
            raise no_site()
        async with self._database.write() as session:
            before = await store.policy(session)
            verification = before.user_verification if body.user_verification is None else body.user_verification
            wanted = MfaPolicy(enforced=body.enforced, at_sign_in=body.at_sign_in, user_verification=verification)
            await store.set_policy(session, wanted)
            left = await self._verification.kinds_for(session, actor.user_id, Purpose.SIGN_IN)
            if wanted.at_sign_in and not left:
                raise ProblemError(
                    ProblemCode.CONFLICT,
                    "You could not sign in any more: set a passkey or an authenticator app up for yourself first, with "
                    "wardgate mfa passkey add or wardgate mfa totp.",
                )
            details = {"before": before.model_dump(mode="json"), "after": wanted.model_dump(mode="json")}
            await self._audit_log.append(session, actor.cause, Event.MFA_POLICY_CHANGED, details=details)
        return wanted

    async def sweep(self) -> None:
        """Forget what is over; run now and then."""
        now = self._sources.now()
        async with self._database.write() as session:
            await store.delete_old(session, now - GOOD_FOR, now - _UNCONFIRMED)


def _describe(row: MfaMethodRow) -> MfaMethod:
    return MfaMethod(id=row.id, kind=row.kind, created_at=row.created_at, last_used_at=row.last_used_at)
