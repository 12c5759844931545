"""Signing in by a provider of single sign-on: there, and back.

Between the two the browser holds a random value in a cookie, which is SameSite=Lax because the way back is a navigation
from another site. The answer is judged in `sso`; what comes of it is the first half of a sign-in, and the page goes on
as it does after a password.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from ....api.problems import ProblemCode, ProblemError
from ...identity.guard import cause_of
from .. import browser
from ..forms import Form
from ..site import Site, safe_next
from .sign_in import HalfCookie, name_of, show_again

_COOKIE = "wardgate-sso"
_LASTS_S = 600
_LONGEST_QUERY = 8_192
_TO_THE_FORM = frozenset({ProblemCode.SSO_REFUSED, ProblemCode.SSO_UNAVAILABLE})


def build(site: Site) -> APIRouter:
    """`/sign-in/sso/…`."""
    router = APIRouter()
    half = HalfCookie(site)
    https = site.settings.door.https
    cookie = browser.cookie_name(https=https, name=_COOKIE)

    @router.get("/sign-in/sso/{provider}")
    async def sso_begin(request: Request, provider: str) -> Response:
        """Send the browser to the provider."""
        pages = site.settings.pages
        if request.headers.get("host", "").lower() != pages.partition("://")[2]:
            # The provider leads back to our pages' own address: the cookie has to be of that.
            return RedirectResponse(f"{pages}{request.url.path}?{request.url.query}", 303)
        wanted = safe_next(request.query_params.get("next"))
        anew = "again" in request.query_params
        try:
            going = await site.services.sso.begin(provider, wanted, cause_of(request), anew=anew)
        except ProblemError as refused:
            if refused.problem.code not in _TO_THE_FORM:
                raise
            return await show_again(site, request, Form({}), refused, wanted, None, None)
        answer = RedirectResponse(going.url, 303)
        answer.set_cookie(cookie, going.cookie, max_age=_LASTS_S, httponly=True, secure=https, samesite="lax", path="/")
        return answer

    @router.get("/sign-in/sso/{provider}/callback")
    async def sso_callback(request: Request, provider: str) -> Response:
        """Judge what the browser brings back, and go on as after a password."""
        cause = cause_of(request)
        query = parse_qs(request.url.query[:_LONGEST_QUERY], keep_blank_values=True)
        try:
            arrived = await site.services.sso.finish(provider, query, request.cookies.get(cookie, ""), cause)
        except ProblemError as refused:
            if refused.problem.code not in _TO_THE_FORM:
                raise
            return await show_again(site, request, Form({}), refused, "/", None, None)
        try:
            token = await site.services.identity.finish_browser(arrived.half, cause, name=name_of(request))
        except ProblemError as refused:
            form = Form({"email": arrived.email})
            return await show_again(site, request, form, refused, arrived.wanted, half, arrived.half)
        done = site.redirect(request, arrived.wanted)
        browser.set_cookie(request, done, token.token.reveal_text())
        done.delete_cookie(cookie, httponly=True, secure=https, samesite="lax", path="/")
        return done

    return router
