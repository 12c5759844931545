"""Challenges: asking for a second factor, judging the answer, and using it up.

Laws: an answer is good once, for five minutes, for exactly what was asked (`binding`), by the user and in the sign-in
that were asked; five wrong answers end a challenge, and a user's wrong answers are rationed over all their challenges.
Whose factor is asked for which kind is decided anew at every step, so a kind that the organisation has just ruled out
verifies nothing. What fails is written down before anybody hears of it.

A code is answered in the sign-in that asked. A passkey may answer from another sign-in of the same user, a browser's,
because what it signs is the challenge itself (`_signed`), and with it what the answer is good for; the sign-in that
asked is still the only one that can use it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from cryptography.hazmat.primitives.constant_time import bytes_eq
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import AccessFacts, ChallengeState, MfaChallenge, MfaKind, MfaQuestion
from ...api.problems import ProblemCode, ProblemError
from ...api.webauthn import PasskeyAssertion
from ...errors import WardgateError
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..identity.limits import TokenBuckets
from ..mail import Mailer
from ..sources import Sources
from ..vault import Vault
from . import codes, store
from .model import MfaChallengeRow, MfaMethodRow, Purpose
from .passkeys import Passkeys

GOOD_FOR = timedelta(minutes=5)
Answer: TypeAlias = Secret | PasskeyAssertion
_MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Who:
    """Who is asked. `sign_in_id` is None in the course of a login."""

    user_id: str
    email: str
    sign_in_id: str | None
    cause: Cause


def binding_of(purpose: str, *parts: str | bytes) -> bytes:
    """What an answer is good for, as one value: SHA-256 over the parts, each with its length."""
    digest = hashlib.sha256()
    for part in (purpose, *parts):
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


class Verification:
    """Asks and judges. `mailer` is None where no mail server is set."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        vault: Vault,
        mailer: Mailer | None,
        passkeys: Passkeys,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._mailer = mailer
        self._passkeys = passkeys
        self._asking = TokenBuckets(burst=10, per_second=1 / 30)
        self._guessing = TokenBuckets(burst=15, per_second=1 / 60)

    async def own_kinds(self, session: AsyncSession, user_id: str) -> tuple[MfaKind, ...]:
        """What the user has set up, the one that is asked for first in front."""
        passkeys = await self._passkeys.usable(session, user_id)
        app = await store.totp_method(session, user_id)
        return ((MfaKind.PASSKEY,) if passkeys else ()) + ((MfaKind.TOTP,) if app is not None else ())

    async def kinds_for(self, session: AsyncSession, user_id: str, purpose: Purpose) -> tuple[MfaKind, ...]:
        """What the user may be asked for now: the organisation's enforced kind, else their own, else mail. Where there
        are several, the first is asked for and the others do as well; where there is none, nothing works.

        At a sign-in, who has not set the enforced kind up yet is asked as if none were enforced: else they could never
        set it up. A change of one's own factors needs one of them, whatever the organisation insists on elsewhere.
        """
        own = await self.own_kinds(session, user_id)
        if purpose is Purpose.CHANGE:
            return own
        by_mail = () if self._mailer is None else (MfaKind.EMAIL,)
        enforced = (await store.policy(session)).enforced
        if enforced is MfaKind.EMAIL:
            return by_mail
        if enforced is None or (enforced not in own and purpose is Purpose.SIGN_IN):
            return own or by_mail
        return (enforced,) if enforced in own else ()

    # --- asking ---------------------------------------------------------------------------------------------------

    async def require(
        self,
        who: Who,
        binding: bytes,
        challenge_id: str | None,
        *,
        what: str,
        purpose: Purpose = Purpose.ACCESS,
        access: AccessFacts | None = None,
    ) -> None:
        """Return where that challenge was met and is unused; else ask, by raising `mfa_required`.

        `what` says in the message what it is for, `access` on the page where a passkey answers. ProblemError
        `mfa_unavailable` where nothing can be asked.
        """
        async with self._database.read() as session:
            row = None if challenge_id is None else await store.challenge(session, challenge_id)
            if row is not None and await self._is_met(session, row, who, binding):
                return
        challenge = await self.ask(who, binding, purpose, what=what, access=access)
        raise ProblemError(
            ProblemCode.MFA_REQUIRED,
            f"{what} needs a second factor: answer the challenge {challenge.short_code} with {_with(challenge, who)}.",
            context=challenge.model_dump(mode="json"),
        )

    async def ask(
        self, who: Who, binding: bytes, purpose: Purpose, *, what: str, access: AccessFacts | None = None
    ) -> MfaChallenge:
        """A new challenge. ProblemError `mfa_unavailable` or `rate_limited`."""
        now = self._sources.now()
        async with self._database.write() as session:
            kinds = await self.kinds_for(session, who.user_id, purpose)
            if not kinds:
                raise _unavailable()
            _ration(self._asking, who, now, "Too many challenges were asked for")
            row = MfaChallengeRow(
                id=f"mfc_{self._sources.randomness(16).hex()}",
                user_id=who.user_id,
                sign_in_id=who.sign_in_id,
                purpose=purpose,
                kind=kinds[0],
                binding=binding,
                what=what,
                shown=None if access is None else access.model_dump(mode="json"),
                created_at=now,
                expires_at=now + GOOD_FOR,
            )
            code = codes.email_code(self._sources.randomness(8)) if row.kind is MfaKind.EMAIL else None
            row.code_hash = None if code is None else codes.hash_of(code, row.id)
            session.add(row)
            await session.flush()
            challenge = await self._describe(session, row, kinds)
        if code is not None:
            await self._mail(who, code, challenge.short_code, what)
        return challenge

    async def _describe(self, session: AsyncSession, row: MfaChallengeRow, kinds: tuple[MfaKind, ...]) -> MfaChallenge:
        by_passkey = MfaKind.PASSKEY in kinds and row.purpose is not Purpose.SIGN_IN
        return MfaChallenge(
            challenge_id=row.id,
            kind=row.kind,
            alternatives=[kind for kind in kinds if kind is not row.kind],
            expires_at=row.expires_at,
            short_code=codes.short_code(row.id),
            passkey=await self._passkeys.request(session, row.user_id, _signed(row))
            if MfaKind.PASSKEY in kinds
            else None,
            approve_url=f"{self._passkeys.origin}/approve/{row.id}" if by_passkey else None,
        )

    async def question(self, who: Who, challenge_id: str) -> MfaQuestion:
        """A challenge as any sign-in of the user who is asked may see it, and one of a sign-in as who is at its second
        step may; ProblemError `not_found`."""
        async with self._database.read() as session:
            row = await store.challenge(session, challenge_id)
            if row is None or row.user_id != who.user_id or (row.sign_in_id is None) is not (who.sign_in_id is None):
                raise _none_such()
            kinds = await self.kinds_for(session, row.user_id, row.purpose)
            return MfaQuestion(
                challenge=await self._describe(session, row, kinds),
                state=self._state(row, kinds),
                what=row.what,
                access=None if row.shown is None else AccessFacts.model_validate(row.shown),
            )

    def _state(self, row: MfaChallengeRow, kinds: tuple[MfaKind, ...]) -> ChallengeState:
        if row.refused_at is not None:
            return ChallengeState.REFUSED
        if row.expires_at <= self._sources.now() or row.kind not in kinds or row.used_at is not None:
            return ChallengeState.OVER
        if row.verified_at is not None:
            return ChallengeState.MET
        return ChallengeState.OVER if row.attempts >= _MOST_ATTEMPTS else ChallengeState.OPEN

    async def refuse(self, who: Who, challenge_id: str) -> None:
        """The person who is asked says that it was not them who asked: nothing can answer it any more."""
        async with self._database.write() as session:
            row = await store.challenge(session, challenge_id, lock=True)
            if row is None or row.user_id != who.user_id or row.sign_in_id is None:
                raise _none_such()
            if row.used_at is not None or row.refused_at is not None or row.expires_at <= self._sources.now():
                raise _over()
            row.refused_at = self._sources.now()
            await session.flush()
            details = {"sign_in": row.sign_in_id, "what": row.what}
            await self._audit_log.append(session, who.cause, Event.MFA_CHALLENGE_REFUSED, who.user_id, details=details)

    async def consume(self, session: AsyncSession, who: Who, challenge_id: str, binding: bytes) -> None:
        """Use a met challenge up inside the caller's `write()` block; ProblemError `mfa_challenge_over` if it isn't."""
        row = await store.challenge(session, challenge_id, lock=True)
        if row is None or not await self._is_met(session, row, who, binding):
            raise _over()
        row.used_at = self._sources.now()
        await session.flush()

    async def _is_met(self, session: AsyncSession, row: MfaChallengeRow, who: Who, binding: bytes) -> bool:
        return (
            row.verified_at is not None
            and row.used_at is None
            and row.refused_at is None
            and row.expires_at > self._sources.now()
            and self._is_theirs(row, who)
            and bytes_eq(row.binding, binding)
            and row.kind in await self.kinds_for(session, row.user_id, row.purpose)
        )

    @staticmethod
    def _is_theirs(row: MfaChallengeRow, who: Who) -> bool:
        return row.user_id == who.user_id and row.sign_in_id == who.sign_in_id

    async def _mail(self, who: Who, code: str, short: str, what: str) -> None:
        assert self._mailer is not None
        text = (
            f"Your code is {code[:4]} {code[4:]}.\n\n{what} needs it. It is good for five minutes, once, and for the "
            f"challenge {short} only: your terminal or browser shows the same four characters.\n\nIf you did not ask "
            "for this, somebody has your password or your login: change your password and tell your administrator.\n"
        )
        try:
            await self._mailer.send(who.email, f"wardgate: code for {short}", text)
        except WardgateError as error:
            raise ProblemError(
                ProblemCode.MFA_UNAVAILABLE, f"The code could not be sent: {error.message} Tell your administrator."
            ) from None

    # --- judging --------------------------------------------------------------------------------------------------

    async def verify(self, who: Who, challenge_id: str, answer: Answer) -> MfaKind:
        """Judge an answer; what it was answered with. ProblemError `not_found`, `mfa_challenge_over`,
        `mfa_code_wrong` or `rate_limited`."""
        now = self._sources.now()
        refused: ProblemError | None = None
        async with self._database.write() as session:
            row = await store.challenge(session, challenge_id, lock=True)
            if row is None or not self._may_answer(row, who, answer):
                raise _none_such()
            kinds = await self.kinds_for(session, row.user_id, row.purpose)
            if self._state(row, kinds) is not ChallengeState.OPEN:
                raise _over()
            _ration(self._guessing, who, now, "Too many wrong codes")
            row.attempts += 1
            kind = await self._kind_of(session, row, answer, kinds, who.cause)
            details = {"kind": None if kind is None else kind.value, "challenge": row.id}
            if kind is not None:
                row.kind, row.verified_at = kind, now
                self._guessing.give_back(who.user_id)
                await self._audit_log.append(session, who.cause, Event.MFA_VERIFIED, who.user_id, details=details)
            else:
                # Raised after the commit: raised here, it would undo the count.
                refused = _wrong(_MOST_ATTEMPTS - row.attempts, answer)
                await self._audit_log.append(session, who.cause, Event.MFA_FAILED, who.user_id, details=details)
        if kind is None:
            assert refused is not None
            raise refused
        return kind

    def _may_answer(self, row: MfaChallengeRow, who: Who, answer: Answer) -> bool:
        if self._is_theirs(row, who):
            return True
        elsewhere = row.sign_in_id is not None and who.sign_in_id is not None
        return elsewhere and row.user_id == who.user_id and isinstance(answer, PasskeyAssertion)

    async def _kind_of(
        self, session: AsyncSession, row: MfaChallengeRow, answer: Answer, kinds: tuple[MfaKind, ...], cause: Cause
    ) -> MfaKind | None:
        """What kind of factor that is a right answer of; None: it is wrong."""
        if isinstance(answer, PasskeyAssertion):
            if MfaKind.PASSKEY not in kinds:
                return None
            verified = (await store.policy(session)).user_verification
            right = await self._passkeys.answered(
                session, cause, _signed(row), answer, user_id=row.user_id, verified=verified
            )
            return None if right is None else MfaKind.PASSKEY
        if row.code_hash is not None:
            return MfaKind.EMAIL if bytes_eq(row.code_hash, codes.hash_of(_text(answer), row.id)) else None
        now = self._sources.now()
        if MfaKind.TOTP in kinds and await self._is_totp(session, row.user_id, answer, now):
            return MfaKind.TOTP
        # A recovery code stands in for the device, whichever was asked for.
        recovered = await store.use_recovery_code(session, row.user_id, codes.hash_of(_text(answer), row.user_id), now)
        return row.kind if recovered else None

    async def check(self, session: AsyncSession, who: Who, code: Secret) -> bool:
        """Whether that is a code of the user's authenticator app or a recovery code, which is used up by it.

        The event of it is in the caller's transaction, which must not be undone for a wrong code.
        """
        now = self._sources.now()
        _ration(self._guessing, who, now, "Too many wrong codes")
        right = await self._is_totp(session, who.user_id, code, now) or await store.use_recovery_code(
            session, who.user_id, codes.hash_of(_text(code), who.user_id), now
        )
        if right:
            self._guessing.give_back(who.user_id)
        event = Event.MFA_VERIFIED if right else Event.MFA_FAILED
        await self._audit_log.append(session, who.cause, event, who.user_id)
        return right

    async def _is_totp(self, session: AsyncSession, user_id: str, code: Secret, now: datetime) -> bool:
        method = await store.totp_method(session, user_id, lock=True)
        step = None if method is None else await self._step(session, method, code, now)
        if method is None or step is None:
            return False
        method.last_step, method.last_used_at = step, now
        await session.flush()
        return True

    async def _step(self, session: AsyncSession, method: MfaMethodRow, code: Secret, now: datetime) -> int | None:
        secret = await self.open_secret(session, method)
        return codes.totp_step(secret.reveal(), _text(code), now.timestamp(), method.last_step)

    async def open_secret(self, session: AsyncSession, method: MfaMethodRow) -> Secret:
        """The secret of an authenticator app."""
        return await self._vault.open(
            session, None, MfaMethodRow.__tablename__, method.id, "sealed_secret", method.sealed_secret
        )


def _ration(buckets: TokenBuckets, who: Who, now: datetime, why: str) -> None:
    wait = buckets.take(who.user_id, now.timestamp())
    if wait > 0:
        seconds = max(1, round(wait))
        raise ProblemError(
            ProblemCode.RATE_LIMITED, f"{why}: wait {seconds} s and try again.", context={"retry_after_s": seconds}
        )


def _text(code: Secret) -> str:
    try:
        return code.reveal_text()
    except UnicodeDecodeError:
        return ""


def _signed(row: MfaChallengeRow) -> bytes:
    """What a passkey signs: this question, by its random id, and what its answer is good for."""
    return binding_of("passkey", row.id, row.binding)


def _with(challenge: MfaChallenge, who: Who) -> str:
    if challenge.kind is MfaKind.PASSKEY:
        return "your passkey or security key"
    return (
        "the code from your authenticator app"
        if challenge.kind is MfaKind.TOTP
        else f"the code that was sent to {who.email}"
    )


def _wrong(left: int, answer: Answer) -> ProblemError:
    tries = {0: "that was the last try for this challenge", 1: "one try is left"}.get(left, f"{left} tries are left")
    what = "That passkey's answer is not good here" if isinstance(answer, PasskeyAssertion) else "That code is wrong"
    return ProblemError(ProblemCode.MFA_CODE_WRONG, f"{what}: {tries}.", context={"attempts_left": left})


def _none_such() -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, "There is no such challenge for this login.")


def _over() -> ProblemError:
    return ProblemError(
        ProblemCode.MFA_CHALLENGE_OVER,
        "That challenge is over: it was answered or refused, has expired, had too many wrong answers, or its kind is "
        "no longer allowed. Ask again.",
    )


def _unavailable() -> ProblemError:
    return ProblemError(
        ProblemCode.MFA_UNAVAILABLE,
        "This needs a second factor and you have none that may be used: set one up with wardgate mfa passkey add or "
        "wardgate mfa totp, or ask your administrator which the organisation insists on, and for a mail server.",
    )
