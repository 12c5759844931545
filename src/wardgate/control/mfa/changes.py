"""Who may change factors: the law that stands before every change of one's own.

Law: a stolen token is not enough. What is set up needs the password, or, of people who have none, a sign-in of the last
few minutes; and where there is a factor, every change needs one of them: a code of the authenticator app, a recovery
code, or a challenge that was asked for this very change and was met (which is how a passkey speaks). What a proof used
up stays used up, whatever becomes of the change.
"""

from __future__ import annotations

from ...api.mfa import ChangeRequest, FactorChange, MfaChallenge
from ...api.mfa import Proof as ProofBody
from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret
from ..db import Database
from ..identity.actor import Actor
from ..identity.service import IdentityService
from ..identity.sign_ins import SignInService
from . import store
from .model import Purpose
from .verification import Verification, Who, binding_of

_WHAT = {
    FactorChange.ADD_PASSKEY: "Setting a passkey up for you",
    FactorChange.ADD_TOTP: "Setting an authenticator app up for you",
    FactorChange.RECOVERY_CODES: "Making new recovery codes for you",
    FactorChange.REMOVE: "Taking a second factor of yours away",
}


class Changes:
    """Asks for proofs of changes, and judges them."""

    def __init__(
        self, database: Database, identity: IdentityService, sign_ins: SignInService, verification: Verification
    ) -> None:
        self._database = database
        self._identity = identity
        self._sign_ins = sign_ins
        self._verification = verification

    async def challenge(self, actor: Actor, wanted: ChangeRequest) -> MfaChallenge:
        """Ask for the present factor, for one change. ProblemError `mfa_unavailable` where there is none to ask for."""
        binding, what = _binding(actor, wanted.change, wanted.method), _WHAT[wanted.change]
        async with self._database.read() as session:
            row = None if wanted.method is None else await store.passkey(session, actor.user_id, wanted.method)
        if wanted.change is FactorChange.REMOVE and row is not None:
            what = f"Taking your passkey {row.name} away"
        return await self._verification.ask(who(actor), binding, Purpose.CHANGE, what=what)

    async def must_be_themselves(self, actor: Actor, password: Secret | None) -> None:
        """The password, or a sign-in of a moment ago where there is none. ProblemError `invalid_credentials`,
        `rate_limited`, `invalid_request` or `fresh_sign_in_required`."""
        if password is not None:
            await self._identity.check_password(actor.email, password, actor.cause)
            return
        async with self._database.read() as session:
            if await self._identity.has_password(session, actor.user_id):
                raise ProblemError(ProblemCode.INVALID_REQUEST, "This needs your password.")
            await self._sign_ins.must_be_fresh(session, actor)

    async def must_be_proved(
        self, actor: Actor, proof: ProofBody, change: FactorChange, method: str | None = None
    ) -> bool:
        """Whether there was a factor to prove it with, and it was; False: there is none yet.

        ProblemError `mfa_code_wrong`, `mfa_challenge_over` or `rate_limited`.
        """
        async with self._database.read() as session:
            if not await self._verification.own_kinds(session, actor.user_id):
                return False
        if proof.code is not None:
            async with self._database.write() as session:
                right = await self._verification.check(session, who(actor), Secret(proof.code.get_secret_value()))
            if not right:
                raise needs_proof()
        elif proof.challenge_id is not None:
            async with self._database.write() as session:
                binding = _binding(actor, change, method)
                await self._verification.consume(session, who(actor), proof.challenge_id, binding)
        else:
            raise needs_proof()
        return True


def who(actor: Actor) -> Who:
    """The actor as challenges know them; ProblemError `forbidden` for a service, which has no factors."""
    if actor.is_service:
        raise ProblemError(ProblemCode.FORBIDDEN, "A service has no second factor and answers no challenge.")
    return Who(actor.user_id, actor.email, actor.sign_in_id, actor.cause)


def needs_proof() -> ProblemError:
    """The answer to a change that nothing speaks for."""
    return ProblemError(
        ProblemCode.MFA_CODE_WRONG,
        "This needs your present second factor: a code of it, a recovery code, or a passkey's answer.",
    )


def _binding(actor: Actor, change: FactorChange, method: str | None) -> bytes:
    return binding_of("change", actor.user_id, change.value, method or "")
