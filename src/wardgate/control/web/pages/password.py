"""Setting a password with a link by mail, and asking for one.

Programs that look through mail open every link: opening one changes nothing, only the form on the page does. The link's
token stands in the address until then; it goes to no other site (no referrer) and into no log.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ....api.people import PasswordForgotten, PasswordLink
from ....api.problems import ProblemCode, ProblemError
from ....secret import Secret
from ...identity.guard import cause_of
from ...mail_links.model import LinkKind
from .. import browser
from ..forms import Filled, Form
from ..site import Site


def build(site: Site) -> APIRouter:
    """`/password` and `/password/forgotten`."""
    router = APIRouter()
    links = site.services.mail_links

    async def show(request: Request, token: str, form: Filled, status: int = 200) -> Response:
        try:
            email, kind = await links.look(Secret(token))
        except ProblemError as over:
            return await site.page(request, "password/over.html", problem=over.problem, status=over.problem.status)
        invited = kind is LinkKind.INVITATION
        answer = await site.page(
            request, "password/set.html", form=form, status=status, token=token, email=email, invited=invited
        )
        answer.headers["referrer-policy"] = "origin"  # the address holds the token; our forms need an origin
        return answer

    @router.get("/password")
    async def password_page(request: Request) -> Response:
        """What a link by mail leads to."""
        return await show(request, request.query_params.get("token", ""), Filled())

    @router.post("/password")
    async def set_password(request: Request) -> Response:
        """Set the password."""
        browser.check_origin(request)
        form = await Form.of(request)
        try:
            if form.raw("password") != form.raw("again"):
                raise ProblemError(ProblemCode.INVALID_REQUEST, "The two are not the same.")
            body = form.read(PasswordLink)
            token, password = Secret(body.token.get_secret_value()), Secret(body.password.get_secret_value())
            await links.redeem(token, password, cause_of(request))
        except ProblemError as refused:
            shown = Filled.again(form, refused, (), {ProblemCode.INVALID_REQUEST: "password"})
            return await show(request, form.text("token"), shown, refused.problem.status)
        return site.redirect(request, "/sign-in", flash="Your password is set: sign in with it.")

    @router.get("/password/forgotten")
    async def forgotten_page(request: Request) -> Response:
        """Ask for whom."""
        return await site.page(request, "password/forgotten.html", form=Filled(), asked=False)

    @router.post("/password/forgotten")
    async def forgotten(request: Request) -> Response:
        """Have a link sent, if there is somebody to send it to."""
        browser.check_origin(request)
        form = await Form.of(request)
        try:
            await links.ask(form.read(PasswordForgotten).email, cause_of(request))
        except ProblemError as refused:
            shown = Filled.again(form, refused, ("email",))
            status = refused.problem.status
            return await site.page(request, "password/forgotten.html", form=shown, asked=False, status=status)
        return await site.page(request, "password/forgotten.html", form=Filled(), asked=True)

    return router
