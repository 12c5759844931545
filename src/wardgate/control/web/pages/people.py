"""The users of the organisation."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from ....api.people import Invitation, UserCreate
from ....api.problems import ProblemCode, ProblemError
from ....secret import Secret
from ...identity import Actor, Permission
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_PAGE: Final = 100
_Updater = Annotated[Actor, Depends(viewer(Permission.ORGANISATION_USER_UPDATE))]


def build(site: Site) -> APIRouter:
    """The list, and a user's page."""
    router = APIRouter()
    _list(router, site)
    _one(router, site)
    return router


def _list(router: APIRouter, site: Site) -> None:
    users = site.services.users

    async def show(request: Request, form: Filled, after: str | None = None) -> Response:
        page = await users.page(Paging(after, _PAGE))
        status = 200 if form.problem is None else form.problem.status
        return await site.page(request, "people/list.html", status=status, page=page, form=form, after=after)

    @router.get("/users")
    async def users_page(
        request: Request,
        actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_USER_READ))],
        after: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Response:
        """Everybody."""
        return await show(request, Filled(), after)

    @router.post("/users")
    async def create_user(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_USER_CREATE))]
    ) -> Response:
        """Make a user; without a password, invite them by mail."""
        form = await Form.of(request)
        try:
            if not form.raw("password"):
                invited = await site.services.mail_links.invite(actor, form.read(Invitation).email)
                return site.redirect(request, f"/users/{invited.id}", flash=f"A mail is on its way to {invited.email}.")
            body = form.read(UserCreate)
            made = await users.create(actor, body.email, Secret(body.password.get_secret_value()))
        except ProblemError as refused:
            return await show(request, Filled.again(form, refused, ("email",), {ProblemCode.CONFLICT: "email"}))
        return site.redirect(request, f"/users/{made.id}", flash=f"{made.email} can sign in now, and has no role yet.")


def _one(router: APIRouter, site: Site) -> None:
    users, sign_ins = site.services.users, site.services.sign_ins

    @router.get("/users/{user}")
    async def user_page(
        request: Request, user: str, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_USER_READ))]
    ) -> Response:
        """One user: roles, devices, and what can be done."""
        found = await users.get(user)
        devices = await sign_ins.page(found.id)
        return await site.page(request, "people/show.html", user=found, devices=devices)

    @router.post("/users/{user}/disable")
    async def disable_user(request: Request, user: str, actor: _Updater) -> Response:
        """Keep them out."""
        found = await users.disable(actor, user)
        return site.redirect(request, f"/users/{found.id}", flash=f"{found.email} is kept out; their sessions end.")

    @router.post("/users/{user}/enable")
    async def enable_user(request: Request, user: str, actor: _Updater) -> Response:
        """Let them in again."""
        found = await users.enable(actor, user)
        return site.redirect(request, f"/users/{found.id}", flash=f"{found.email} can sign in again.")

    @router.post("/users/{user}/sign-ins/{sign_in}/end")
    async def end_user_sign_in(request: Request, user: str, sign_in: str, actor: _Updater) -> Response:
        """Sign a device out."""
        found = await users.get(user)
        await sign_ins.end(actor, sign_in, user_id=found.id)
        return site.redirect(request, f"/users/{found.id}", flash="The device is signed out.")

    @router.post("/users/{user}/mfa/reset")
    async def reset_user_mfa(request: Request, user: str, actor: _Updater) -> Response:
        """Take their second factors away, for somebody who has lost them."""
        await site.services.mfa.reset(actor, user)
        return site.redirect(request, f"/users/{user}", flash="Their second factors are gone: they set up new ones.")

    @router.post("/users/{user}/delete")
    async def delete_user(
        request: Request, user: str, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_USER_DELETE))]
    ) -> Response:
        """Remove them; their records stay."""
        found = await users.get(user)
        if (await Form.of(request)).text("confirm") != found.email:
            raise ProblemError(
                ProblemCode.INVALID_REQUEST, "The address that was typed is not this user's: nothing is removed."
            )
        await users.delete(actor, user)
        return site.redirect(request, "/users", flash="The user is removed; what they did stays on record.")
