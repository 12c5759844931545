"""Challenges: asking for a second factor, judging the answer, and using it up.

Laws: an answer is good once, for five minutes, for exactly what was asked (`binding`), by the user and in the sign-in
that were asked; five wrong answers end a challenge, and a user's wrong answers are rationed over all their challenges.
Whose factor is asked for which kind is decided anew at every step, so a kind that the organisation has just ruled out
verifies nothing. What fails is written down before anybody hears of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.constant_time import bytes_eq
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import MfaChallenge, MfaKind
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..identity.limits import TokenBuckets
from ..mail import Mailer
from ..sources import Sources
from ..vault import Vault
from . import codes, store
from .model import MfaChallengeRow, MfaMethodRow

GOOD_FOR = timedelta(minutes=5)
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
        self, database: Database, audit_log: AuditLog, sources: Sources, vault: Vault, mailer: Mailer | None
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._mailer = mailer
        self._asking = TokenBuckets(burst=10, per_second=1 / 30)
        self._guessing = TokenBuckets(burst=15, per_second=1 / 60)

    async def kind_for(self, session: AsyncSession, user_id: str, *, signing_in: bool = False) -> MfaKind | None:
        """What the user is asked for: the organisation's enforced kind, else their own, else mail; None: nothing works.

        At a sign-in, who has not set the enforced kind up yet is asked by mail: else they could never set it up.
        """
        enforced = (await store.policy(session)).enforced
        by_mail = None if self._mailer is None else MfaKind.EMAIL
        if enforced is MfaKind.EMAIL:
            return by_mail
        if await store.totp_method(session, user_id) is not None:
            return MfaKind.TOTP
        return by_mail if enforced is None or signing_in else None

    # --- asking ---------------------------------------------------------------------------------------------------

    async def require(self, who: Who, binding: bytes, challenge_id: str | None, *, what: str) -> None:
        """Return where that challenge was met and is unused; else ask, by raising `mfa_required`.

        `what` says in the message what it is for. ProblemError `mfa_unavailable` where nothing can be asked.
        """
        async with self._database.read() as session:
            row = None if challenge_id is None else await store.challenge(session, challenge_id)
            kind = await self.kind_for(session, who.user_id, signing_in=who.sign_in_id is None)
            if row is not None and self._is_met(row, who, binding, kind):
                return
        if kind is None:
            raise _unavailable()
        raise await self._ask(who, binding, kind, what)

    async def consume(self, session: AsyncSession, who: Who, challenge_id: str, binding: bytes) -> None:
        """Use a met challenge up inside the caller's `write()` block; ProblemError `mfa_challenge_over` if it isn't."""
        row = await store.challenge(session, challenge_id, lock=True)
        kind = await self.kind_for(session, who.user_id, signing_in=who.sign_in_id is None)
        if row is None or not self._is_met(row, who, binding, kind):
            raise _over()
        row.used_at = self._sources.now()
        await session.flush()

    def _is_met(self, row: MfaChallengeRow, who: Who, binding: bytes, kind: MfaKind | None) -> bool:
        return (
            row.verified_at is not None
            and row.used_at is None
            and row.expires_at > self._sources.now()
            and self._is_theirs(row, who)
            and row.kind is kind
            and bytes_eq(row.binding, binding)
        )

    @staticmethod
    def _is_theirs(row: MfaChallengeRow, who: Who) -> bool:
        return row.user_id == who.user_id and row.sign_in_id == who.sign_in_id

    async def _ask(self, who: Who, binding: bytes, kind: MfaKind, what: str) -> ProblemError:
        now = self._sources.now()
        _ration(self._asking, who, now, "Too many challenges were asked for")
        row = MfaChallengeRow(
            id=f"mfc_{self._sources.randomness(16).hex()}",
            user_id=who.user_id,
            sign_in_id=who.sign_in_id,
            kind=kind,
            binding=binding,
            created_at=now,
            expires_at=now + GOOD_FOR,
        )
        code = codes.email_code(self._sources.randomness(8)) if kind is MfaKind.EMAIL else None
        if code is not None:
            row.code_hash = codes.hash_of(code, row.id)
        short = codes.short_code(row.id)
        async with self._database.write() as session:
            session.add(row)
        if code is not None:
            await self._mail(who, code, short, what)
        challenge = MfaChallenge(challenge_id=row.id, kind=kind, expires_at=row.expires_at, short_code=short)
        where = "from your authenticator app" if kind is MfaKind.TOTP else f"that was sent to {who.email}"
        return ProblemError(
            ProblemCode.MFA_REQUIRED,
            f"{what} needs a second factor: answer the challenge {short} with the code {where}.",
            context=challenge.model_dump(mode="json"),
        )

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

    async def verify(self, who: Who, challenge_id: str, code: Secret) -> None:
        """Judge an answer. ProblemError `not_found`, `mfa_challenge_over`, `mfa_code_wrong` or `rate_limited`."""
        now = self._sources.now()
        refused: ProblemError | None = None
        async with self._database.write() as session:
            row = await store.challenge(session, challenge_id, lock=True)
            if row is None or not self._is_theirs(row, who):
                raise ProblemError(ProblemCode.NOT_FOUND, "There is no such challenge for this login.")
            kind = await self.kind_for(session, who.user_id, signing_in=who.sign_in_id is None)
            spent = row.verified_at is not None or row.attempts >= _MOST_ATTEMPTS
            if spent or row.expires_at <= now or row.kind is not kind:
                raise _over()
            _ration(self._guessing, who, now, "Too many wrong codes")
            row.attempts += 1
            if await self._is_right(session, row, code, now):
                row.verified_at = now
                self._guessing.give_back(who.user_id)
                await self._audit_log.append(session, who.cause, Event.MFA_VERIFIED, who.user_id)
            else:
                # Raised after the commit: raised here, it would undo the count.
                refused = _wrong(_MOST_ATTEMPTS - row.attempts)
                await self._audit_log.append(session, who.cause, Event.MFA_FAILED, who.user_id)
        if refused is not None:
            raise refused

    async def check(self, session: AsyncSession, who: Who, code: Secret) -> bool:
        """Whether that is a code of the user's authenticator app or a recovery code, which is used up by it.

        The event of it is in the caller's transaction, which must not be undone for a wrong code.
        """
        now = self._sources.now()
        _ration(self._guessing, who, now, "Too many wrong codes")
        right = await self._is_totp(session, who.user_id, code, now)
        if right:
            self._guessing.give_back(who.user_id)
        event = Event.MFA_VERIFIED if right else Event.MFA_FAILED
        await self._audit_log.append(session, who.cause, event, who.user_id)
        return right

    async def _is_right(self, session: AsyncSession, row: MfaChallengeRow, code: Secret, now: datetime) -> bool:
        if row.code_hash is not None:
            return bytes_eq(row.code_hash, codes.hash_of(_text(code), row.id))
        return await self._is_totp(session, row.user_id, code, now)

    async def _is_totp(self, session: AsyncSession, user_id: str, code: Secret, now: datetime) -> bool:
        method = await store.totp_method(session, user_id, lock=True)
        if method is None:
            return False
        step = await self._step(session, method, code, now)
        if step is not None:
            method.last_step, method.last_used_at = step, now
            await session.flush()
            return True
        return await store.use_recovery_code(session, user_id, codes.hash_of(_text(code), user_id), now)

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


def _wrong(left: int) -> ProblemError:
    tries = {0: "that was the last try for this challenge", 1: "one try is left"}.get(left, f"{left} tries are left")
    return ProblemError(ProblemCode.MFA_CODE_WRONG, f"That code is wrong: {tries}.", context={"attempts_left": left})


def _over() -> ProblemError:
    return ProblemError(
        ProblemCode.MFA_CHALLENGE_OVER,
        "That challenge is over: it was answered, has expired, had too many wrong answers, or its kind is no longer "
        "allowed. Ask again.",
    )


def _unavailable() -> ProblemError:
    return ProblemError(
        ProblemCode.MFA_UNAVAILABLE,
        "This needs a second factor and you have none that may be used: set an authenticator app up with wardgate mfa "
        "totp, or ask your administrator for a mail server.",
    )
