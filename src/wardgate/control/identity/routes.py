"""Login and logout over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ...api.journal import SignIn, SignInUpdate
from ...api.models import LoginRequest, Page, RefreshRequest, Tokens, User
from ...secret import Secret
from .actor import Actor
from .guard import cause_of, requires
from .permissions import Permission
from .service import IdentityService, MfaAnswer
from .sign_ins import Device, SignInService, describe

_Reader = Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]
_Ender = Annotated[Actor, Depends(requires(Permission.SELF_SIGN_IN_END))]


def build(identity: IdentityService, sign_ins: SignInService) -> APIRouter:
    """The routes below `/auth`."""
    router = APIRouter(prefix="/auth", tags=["identity"])

    @router.post("/login")
    async def login(body: LoginRequest, request: Request) -> Tokens:
        """Log in with a password, and with a second factor where the organisation asks for it (`mfa_required`)."""
        answer = None if body.code is None else Secret(body.code.get_secret_value())
        met = answer or body.passkey
        given = None if body.challenge_id is None or met is None else MfaAnswer(body.challenge_id, met)
        password, device = Secret(body.password.get_secret_value()), Device(name=body.device or "")
        return await identity.login(body.email, password, cause_of(request), given, device=device)

    @router.post("/refresh")
    async def refresh(body: RefreshRequest, request: Request) -> Tokens:
        """Exchange a refresh token for the next pair; it works once."""
        return await sign_ins.refresh(Secret(body.refresh_token.get_secret_value()), cause_of(request))

    @router.post("/logout", status_code=204)
    async def logout(actor: _Ender) -> None:
        """End this sign-in and its tokens."""
        await sign_ins.end(actor, actor.sign_in_id)

    @router.get("/whoami")
    async def whoami(actor: _Reader) -> User:
        """Who the token belongs to, and their roles."""
        return describe(actor.user_id, actor.email, actor.bindings)

    _devices(router, sign_ins)
    return router


def _devices(router: APIRouter, sign_ins: SignInService) -> None:
    @router.get("/sign-ins")
    async def list_sign_ins(actor: _Reader) -> Page[SignIn]:
        """The devices that are signed in as you, the newest use first."""
        return Page[SignIn](items=await sign_ins.page(actor.user_id, current=actor.sign_in_id))

    @router.delete("/sign-ins", status_code=204)
    async def delete_other_sign_ins(actor: _Ender) -> None:
        """Sign all your devices out but this one."""
        await sign_ins.end_others(actor)

    @router.patch("/sign-ins/{sign_in}")
    async def update_sign_in(sign_in: str, body: SignInUpdate, actor: _Ender) -> SignIn:
        """Give one of your devices another name."""
        return await sign_ins.rename(actor, sign_in, body.name)

    @router.delete("/sign-ins/{sign_in}", status_code=204)
    async def delete_sign_in(sign_in: str, actor: _Ender) -> None:
        """Sign one of your devices out."""
        await sign_ins.end(actor, sign_in)
