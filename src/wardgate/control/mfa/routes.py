"""Multi-factor authentication over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import SecretStr

from ...api.mfa import (
    CodeRequest,
    MfaPolicy,
    MfaPolicyUpdate,
    MfaStatus,
    RecoveryCodes,
    TotpEnrolment,
    TotpRequest,
)
from ...secret import Secret
from ..identity import Actor, Permission, requires
from .service import MfaService, who
from .verification import Verification

_Reader = Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]
_Changer = Annotated[Actor, Depends(requires(Permission.SELF_MFA_UPDATE))]


def build(mfa: MfaService, verification: Verification) -> APIRouter:
    """The routes below `/mfa`, and the reset of somebody's factors."""
    router = APIRouter(tags=["mfa"])
    _own(router, mfa, verification)
    _organisation(router, mfa)
    return router


def _own(router: APIRouter, mfa: MfaService, verification: Verification) -> None:
    @router.get("/mfa")
    async def get_mfa(actor: _Reader) -> MfaStatus:
        """How your second factor stands."""
        return await mfa.status(actor)

    @router.post("/mfa/totp", status_code=201)
    async def begin_totp(body: TotpRequest, actor: _Changer) -> TotpEnrolment:
        """Begin to set an authenticator app up; it counts once a code of it is shown."""
        code = None if body.code is None else _secret(body.code)
        return await mfa.begin_totp(actor, _secret(body.password), code)

    @router.post("/mfa/totp/{method}/confirm")
    async def confirm_totp(method: str, body: CodeRequest, actor: _Changer) -> RecoveryCodes:
        """Show a code of the new authenticator app."""
        return await mfa.confirm_totp(actor, method, _secret(body.code))

    @router.post("/mfa/recovery-codes")
    async def make_recovery_codes(body: CodeRequest, actor: _Changer) -> RecoveryCodes:
        """New recovery codes; the older ones are void."""
        return await mfa.recovery_codes(actor, _secret(body.code))

    @router.post("/mfa/methods/{method}/remove", status_code=204)
    async def remove_method(method: str, body: CodeRequest, actor: _Changer) -> None:
        """Take a second factor of yours away."""
        await mfa.remove(actor, method, _secret(body.code))

    @router.post("/mfa/challenges/{challenge}/verify", status_code=204)
    async def verify_challenge(challenge: str, body: CodeRequest, actor: _Reader) -> None:
        """Answer a challenge that `mfa_required` asked."""
        await verification.verify(who(actor), challenge, _secret(body.code))


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
        return await mfa.set_policy(actor, MfaPolicy(enforced=body.enforced, at_sign_in=body.at_sign_in))

    @router.post("/users/{user}/mfa/reset", status_code=204)
    async def reset_mfa(
        user: str, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_USER_UPDATE))]
    ) -> None:
        """Take all second factors of a user away."""
        await mfa.reset(actor, user)


def _secret(text: SecretStr) -> Secret:
    return Secret(text.get_secret_value())
