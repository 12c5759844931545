"""Signing in with a passkey alone.

What it is not: a second factor after a password, which is a challenge like others. Laws: nobody says who they are
before the passkey does, so there is nothing to be found out about anybody; the passkey must have checked its user (PIN,
fingerprint), so that it stands for what one has and for what one knows or is; a question is good once, right or wrong.
Where the organisation insists on another kind at every sign-in, a passkey alone does not get round it.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import MfaKind, PasskeySignIn, PasskeySignInAnswer
from ...api.models import Tokens
from ...api.problems import ProblemCode, ProblemError
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..identity.limits import LoginLimiter
from ..identity.model import Method, UserRow
from ..identity.service import IdentityService
from ..identity.sign_ins import BrowserToken, Device, Proof, SignInService
from ..sources import Sources
from . import store
from .enrolment import no_site
from .model import PasskeyQuestionRow
from .passkeys import Passkeys
from .verification import binding_of
from .webauthn import BadAnswerError, user_handle_of

_GOOD_FOR = timedelta(minutes=5)
_PROOF = Proof(Method.PASSKEY, second_factor=True)


class PasskeySignInService:
    """Asks and opens."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        identity: IdentityService,
        sign_ins: SignInService,
        passkeys: Passkeys,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._identity = identity
        self._sign_ins = sign_ins
        self._passkeys = passkeys
        self._asking, self._answering = LoginLimiter(), LoginLimiter()

    async def begin(self, cause: Cause) -> PasskeySignIn:
        """A question that any passkey made for this control plane can answer. ProblemError `mfa_unavailable` or
        `rate_limited`."""
        if self._passkeys.party is None:
            raise no_site()
        self._ration(self._asking, cause)
        question = PasskeyQuestionRow(
            id=f"pkq_{self._sources.randomness(16).hex()}", expires_at=self._sources.now() + _GOOD_FOR
        )
        async with self._database.write() as session:
            session.add(question)
        options = self._passkeys.party.request(_challenge(question.id), None, verified=True)
        return PasskeySignIn(challenge_id=question.id, options=options)

    async def open(self, cause: Cause, answer: PasskeySignInAnswer, device: Device) -> Tokens:
        """Tokens for a right answer. ProblemError `invalid_credentials`, `mfa_unavailable` or `rate_limited`."""
        self._ration(self._answering, cause)
        async with self._database.write() as session:
            user = await self._user(session, cause, answer)
            if user is not None:
                tokens, _ = await self._sign_ins.open(session, user, cause, _PROOF, device)
        if user is None:  # after the commit: raised inside, it would undo what was written down
            raise _refused()
        self._answering.succeeded(_address(cause), _KEY)
        return tokens

    async def open_browser(self, cause: Cause, answer: PasskeySignInAnswer, name: str) -> BrowserToken:
        """As `open`, for a browser."""
        self._ration(self._answering, cause)
        async with self._database.write() as session:
            user = await self._user(session, cause, answer)
            if user is not None:
                token = await self._sign_ins.open_browser(session, user, cause, _PROOF, name)
        if user is None:
            raise _refused()
        self._answering.succeeded(_address(cause), _KEY)
        return token

    async def _user(self, session: AsyncSession, cause: Cause, answer: PasskeySignInAnswer) -> UserRow | None:
        """Who that answer is of; None, written down, where it is nobody's."""
        now = self._sources.now()
        if not await store.take_question(session, answer.challenge_id, now, user_id=None, sign_in_id=None):
            raise ProblemError(
                ProblemCode.MFA_CHALLENGE_OVER, "That sign-in was begun too long ago, or was answered: begin again."
            )
        row = await self._passkeys.answered(
            session, cause, _challenge(answer.challenge_id), answer.passkey, user_id=None, verified=True
        )
        user = None if row is None else await self._identity.standing_user(session, row.user_id)
        if user is None or not _names(answer, user):
            whose = None if row is None else row.user_id
            await self._audit_log.append(
                session, cause, Event.USER_LOGIN_FAILED, whose, details={"method": Method.PASSKEY.value}
            )
            return None
        policy = await store.policy(session)
        if policy.at_sign_in and policy.enforced not in (None, MfaKind.PASSKEY):
            raise ProblemError(
                ProblemCode.MFA_UNAVAILABLE,
                "Your organisation insists on another second factor at every sign-in: sign in with your password.",
            )
        return user

    def _ration(self, limiter: LoginLimiter, cause: Cause) -> None:
        wait = limiter.take(_address(cause), _KEY, self._sources.now().timestamp())
        if wait > 0:
            seconds = max(1, round(wait))
            raise ProblemError(
                ProblemCode.RATE_LIMITED,
                f"Too many attempts to sign in from here: wait {seconds} s and try again.",
                context={"retry_after_s": seconds},
            )


_KEY = "passkey"  # nobody has said who they are, so attempts count by address only


def _address(cause: Cause) -> str:
    return cause.address or "unknown"


def _names(answer: PasskeySignInAnswer, user: UserRow) -> bool:
    """Whether the passkey says that it is this user's, as one that was found without a name must (WebAuthn, 7.2)."""
    try:
        return user_handle_of(answer.passkey) == user.id.encode()
    except BadAnswerError:
        return False


def _challenge(question_id: str) -> bytes:
    return binding_of("passkey-sign-in", question_id)


def _refused() -> ProblemError:
    return ProblemError(
        ProblemCode.INVALID_CREDENTIALS,
        "That passkey does not open this control plane: it is not known here, was taken away, or did not check who "
        "you are (PIN or fingerprint).",
    )
