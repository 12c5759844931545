"""Links by mail over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ...api.people import Invitation, PasswordForgotten, PasswordLink, UserDetails
from ...secret import Secret
from ..identity import Actor, Permission, requires
from ..identity.guard import cause_of
from .service import MailLinks


def build(links: MailLinks) -> APIRouter:
    """Invitations, and passwords that were forgotten."""
    router = APIRouter()

    @router.post("/users/invitations", status_code=201, tags=["users"])
    async def invite_user(
        body: Invitation, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_USER_CREATE))]
    ) -> UserDetails:
        """Make a user who sets their own password with a link by mail; again: send another."""
        return await links.invite(actor, body.email)

    @router.post("/users/{user}/password-link", status_code=204, tags=["users"])
    async def send_password_link(
        user: str, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_USER_UPDATE))]
    ) -> None:
        """Send a user a link by mail with which they set a new password."""
        await links.send(actor, user)

    @router.post("/auth/password-link", status_code=202, tags=["identity"])
    async def ask_for_password_link(body: PasswordForgotten, request: Request) -> None:
        """Ask for a link by mail to set a new password; the answer does not say whether the address is anybody's."""
        await links.ask(body.email, cause_of(request))

    @router.post("/auth/password-link/redeem", status_code=204, tags=["identity"])
    async def redeem_password_link(body: PasswordLink, request: Request) -> None:
        """Set a password with the token of such a link, once; every sign-in ends."""
        token, password = Secret(body.token.get_secret_value()), Secret(body.password.get_secret_value())
        await links.redeem(token, password, cause_of(request))

    return router
