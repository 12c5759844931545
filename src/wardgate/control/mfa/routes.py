"""Multi-factor authentication over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import SecretStr

from ...api.mfa import (
    ChallengeAnswer,
    ChangeRequest,
    CodeRequest,
    MfaChallenge,
    MfaMethod,
    MfaPolicy,
    MfaPolicyUpdate,
    MfaQuestion,
    MfaStatus,
    PasskeyAdded,
    PasskeyAddition,
    PasskeyCreation,
    PasskeyRename,
    PasskeySignIn,
    PasskeySignInAnswer,
    Proof,
    RecoveryCodes,
    SetUpRequest,
    TotpEnrolment,
)
from ...api.models import Tokens
from ...secret import Secret
from ..identity import Actor, Permission, requires
from ..identity.guard import cause_of
from ..identity.sign_ins import Device
from .changes import Changes, who
from .enrolment import PasskeyEnrolment
from .passkey_sign_in import PasskeySignInService
from .service import MfaService
from .verification import Verification

_Reader = Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]
_Changer = Annotated[Actor, Depends(requires(Permission.SELF_MFA_UPDATE))]


def build(mfa: MfaService, verification: Verification, changes: Changes, enrolment: PasskeyEnrolment) -> APIRouter:
    """The routes below `/mfa`, and the reset of somebody's factors."""
    router = APIRouter(tags=["mfa"])
    _own(router, mfa)
    _passkeys(router, enrolment)
    _challenges(router, verification, changes)
    _organisation(router, mfa)
    return router


def build_sign_in(passkeys: PasskeySignInService) -> APIRouter:
    """The routes of a sign-in by passkey alone; who uses them has no login yet."""
    router = APIRouter(prefix="/auth/passkey", tags=["identity"])

    @router.post("/options")
    async def begin_passkey_login(request: Request) -> PasskeySignIn:
        """Begin to sign in with a passkey alone."""
        return await passkeys.begin(cause_of(request))

    @router.post("/verify")
    async def passkey_login(body: PasskeySignInAnswer, request: Request) -> Tokens:
        """Log in with a passkey that has checked its user."""
        return await passkeys.open(cause_of(request), body, Device(name=body.device or ""))

    return router


def _own(router: APIRouter, mfa: MfaService) -> None:
    @router.get("/mfa")
    async def get_mfa(actor: _Reader) -> MfaStatus:
        """How your second factors stand."""
        return await mfa.status(actor)

    @router.post("/mfa/totp", status_code=201)
    async def begin_totp(body: SetUpRequest, actor: _Changer) -> TotpEnrolment:
        """Begin to set an authenticator app up; it counts once a code of it is shown."""
        return await mfa.begin_totp(actor, body)

    @router.post("/mfa/totp/{method}/confirm")
    async def confirm_totp(method: str, body: CodeRequest, actor: _Changer) -> RecoveryCodes:
        """Show a code of the new authenticator app."""
        return await mfa.confirm_totp(actor, method, _secret(body.code))

    @router.post("/mfa/recovery-codes")
    async def make_recovery_codes(body: Proof, actor: _Changer) -> RecoveryCodes:
        """New recovery codes; the older ones are void."""
        return await mfa.recovery_codes(actor, body)

    @router.post("/mfa/methods/{method}/remove", status_code=204)
    async def remove_method(method: str, body: Proof, actor: _Changer) -> None:
        """Take a second factor of yours away."""
        await mfa.remove(actor, method, body)


def _passkeys(router: APIRouter, enrolment: PasskeyEnrolment) -> None:
    @router.post("/mfa/passkeys/options", status_code=201)
    async def begin_passkey(body: SetUpRequest, actor: _Changer) -> PasskeyCreation:
        """Begin to set a passkey up; the options are for `navigator.credentials.create` or a security key."""
        return await enrolment.begin(actor, body)

    @router.post("/mfa/passkeys", status_code=201)
    async def add_passkey(body: PasskeyAddition, actor: _Changer) -> PasskeyAdded:
        """Keep the passkey that was made."""
        return await enrolment.finish(actor, body)

    @router.patch("/mfa/passkeys/{method}")
    async def rename_passkey(method: str, body: PasskeyRename, actor: _Changer) -> MfaMethod:
        """Call a passkey of yours something else."""
        return await enrolment.rename(actor, method, body.name)


def _challenges(router: APIRouter, verification: Verification, changes: Changes) -> None:
    @router.post("/mfa/challenges", status_code=201)
    async def ask_for_a_change(body: ChangeRequest, actor: _Changer) -> MfaChallenge:
        """Be asked for your present factor, for one change of your factors."""
        return await changes.challenge(actor, body)

    @router.get("/mfa/challenges/{challenge}")
    async def get_challenge(challenge: str, actor: _Reader) -> MfaQuestion:
        """A challenge that you were asked, from any of your devices: what it is for, and how it stands."""
        return await verification.question(who(actor), challenge)

    @router.post("/mfa/challenges/{challenge}/verify", status_code=204)
    async def verify_challenge(challenge: str, body: ChallengeAnswer, actor: _Reader) -> None:
        """Answer a challenge: with a code where it was asked, with a passkey on any of your devices."""
        answer = _secret(body.code) if body.code is not None else body.passkey
        assert answer is not None  # by the model
        await verification.verify(who(actor), challenge, answer)

    @router.post("/mfa/challenges/{challenge}/refuse", status_code=204)
    async def refuse_challenge(challenge: str, actor: _Reader) -> None:
        """Say that it was not you who asked: nothing can answer the challenge any more."""
        await verification.refuse(who(actor), challenge)


def _organisation(router: APIRouter, mfa: MfaService) -> None:
    @router.get("/mfa/policy", dependencies=[Depends(requires(Permission.ORGANISATION_SETTINGS_READ))])
    async def get_policy() -> MfaPolicy:
        """The organisation's rule on second factors."""
        return await mfa.policy()

    @router.put("/mfa/policy")
    async def set_policy(
        body: MfaPolicyUpdate, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_SETTINGS_UPDATE))]
    ) -> MfaPolicy:
        """Change the rule."""
        return await mfa.set_policy(actor, body)

    @router.post("/users/{user}/mfa/reset", status_code=204)
    async def reset_mfa(
        user: str, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_USER_UPDATE))]
    ) -> None:
        """Take all second factors of a user away."""
        await mfa.reset(actor, user)


def _secret(text: SecretStr) -> Secret:
    return Secret(text.get_secret_value())
