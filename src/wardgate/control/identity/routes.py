"""Login and logout over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ...api.journal import SignIn
from ...api.models import LoginRequest, Page, RefreshRequest, Tokens, User
from ...secret import Secret
from .actor import Actor
from .guard import cause_of, requires
from .permissions import Permission
from .service import IdentityService, MfaAnswer, describe


def build(identity: IdentityService) -> APIRouter:
    """The routes below `/auth`."""
    router = APIRouter(prefix="/auth", tags=["identity"])

    @router.post("/login")
    async def login(body: LoginRequest, request: Request) -> Tokens:
        """Log in with a password, and with a second factor where the organisation asks for it (`mfa_required`)."""
        answer = None
        if body.challenge_id is not None and body.code is not None:
            answer = MfaAnswer(body.challenge_id, Secret(body.code.get_secret_value()))
        return await identity.login(body.email, Secret(body.password.get_secret_value()), cause_of(request), answer)

    @router.post("/refresh")
    async def refresh(body: RefreshRequest, request: Request) -> Tokens:
        """Exchange a refresh token for the next pair; it works once."""
        return await identity.refresh(Secret(body.refresh_token.get_secret_value()), cause_of(request))

    @router.post("/logout", status_code=204)
    async def logout(actor: Annotated[Actor, Depends(requires(Permission.SELF_SIGN_IN_END))]) -> None:
        """End this sign-in and its tokens."""
        await identity.logout(actor)

    @router.get("/sign-ins")
    async def list_sign_ins(actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]) -> Page[SignIn]:
        """The devices that are signed in as you, the newest use first."""
        return Page[SignIn](items=await identity.sign_ins(actor))

    @router.delete("/sign-ins/{sign_in}", status_code=204)
    async def delete_sign_in(
        sign_in: str, actor: Annotated[Actor, Depends(requires(Permission.SELF_SIGN_IN_END))]
    ) -> None:
        """Sign one of your devices out."""
        await identity.end_sign_in(actor, sign_in)

    @router.get("/whoami")
    async def whoami(actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]) -> User:
        """Who the token belongs to, and their roles."""
        return describe(actor.user_id, actor.email, actor.bindings)

    return router
