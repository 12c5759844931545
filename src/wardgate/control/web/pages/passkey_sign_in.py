"""Signing a browser in with a passkey alone: the script asks for the question, the form brings the answer."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from ....api.mfa import PasskeySignInAnswer
from ....api.problems import ProblemError
from ....api.webauthn import PasskeyAssertion
from ...identity.guard import cause_of
from .. import browser, passkeys
from ..forms import Filled, Form
from ..site import Site, safe_next
from .sign_in import name_of, show


def build(site: Site) -> APIRouter:
    """`/sign-in/passkey`."""
    router = APIRouter()

    @router.post("/sign-in/passkey/options")
    async def passkey_question(request: Request) -> Response:
        """What any passkey made for this control plane is asked; for the page's script."""
        browser.check_origin(request)
        try:
            asked = await site.services.passkey_sign_in.begin(cause_of(request))
        except ProblemError as refused:
            return JSONResponse({"detail": refused.message}, refused.problem.status)
        return JSONResponse(asked.model_dump(mode="json"))

    @router.post("/sign-in/passkey")
    async def passkey_sign_in(request: Request) -> Response:
        """Let in whoever's passkey answered."""
        browser.check_origin(request)
        form = await Form.of(request)
        wanted, cause = safe_next(form.text("next")), cause_of(request)
        try:
            signed = passkeys.answer_in(form, PasskeyAssertion)
            if signed is None:
                return site.redirect(request, "/sign-in")
            answer = PasskeySignInAnswer(challenge_id=form.text("challenge_id")[:64], passkey=signed)
            token = await site.services.passkey_sign_in.open_browser(cause, answer, name_of(request))
        except ProblemError as refused:
            filled = Filled(problem=refused.problem)
            return await show(site, request, filled, wanted, status=refused.problem.status)
        done = site.redirect(request, wanted)
        browser.set_cookie(request, done, token.token.reveal_text())
        return done

    return router
