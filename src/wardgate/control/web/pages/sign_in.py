"""Signing in and out with a browser.

The password (or a provider's word, `sso`) and the second factor are two steps of one sign-in. Between them the browser
holds a sealed note in a cookie: who it is, and how they showed it. It is worth nothing without the factor, and nothing
at all once the password is changed.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ....api.mfa import MfaChallenge
from ....api.problems import ProblemCode, ProblemError
from ....api.webauthn import PasskeyAssertion
from ....errors import WardgateError
from ....secret import Secret
from ...identity import Actor, Permission
from ...identity.guard import cause_of
from ...identity.model import Method
from ...identity.service import HalfSignedIn, MfaAnswer
from ...mfa.verification import Who
from .. import browser, passkeys
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site, safe_next

_HALF = "wardgate-half"
_HALF_GOOD_FOR = timedelta(minutes=10)
_LONGEST_NAME = 64


def build(site: Site) -> APIRouter:
    """`/sign-in` and `/sign-out`."""
    router = APIRouter()
    half = HalfCookie(site)

    @router.get("/sign-in")
    async def sign_in_page(request: Request) -> Response:
        """Ask for e-mail address and password."""
        if await site.services.first_run.is_open():
            return site.redirect(request, "/set-up")
        wanted = safe_next(request.query_params.get("next"))
        again = "again" in request.query_params  # who is asked to show anew who they are stays signed in until then
        if not again and await browser.find_viewer(request) is not None:
            return site.redirect(request, wanted)
        return await show(site, request, Filled(), wanted)

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        """Check the password; ask for the second factor where there has to be one; let them in."""
        browser.check_origin(request)
        form = await Form.of(request)
        wanted, cause = safe_next(form.text("next")), cause_of(request)
        note = None
        try:
            answer = _answer(form)
            if answer is None:
                note = await site.services.identity.begin_browser(
                    form.text("email"), Secret(form.raw("password")), cause
                )
            else:
                note = await half.read(request)
            token = await site.services.identity.finish_browser(note, cause, answer, name=name_of(request))
        except ProblemError as refused:
            return await show_again(site, request, form, refused, wanted, half if note is not None else None, note)
        done = site.redirect(request, wanted)
        browser.set_cookie(request, done, token.token.reveal_text())
        half.clear(done)
        return done

    @router.post("/sign-out")
    async def sign_out(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.SELF_SIGN_IN_END))]
    ) -> Response:
        """End this browser's sign-in."""
        await site.services.sign_ins.end(actor, actor.sign_in_id)
        done = site.redirect(request, "/sign-in", flash="You are signed out.")
        browser.clear_cookie(request, done)
        return done

    return router


def _answer(form: Form) -> MfaAnswer | None:
    if not form.text("challenge_id"):
        return None
    signed = passkeys.answer_in(form, PasskeyAssertion)
    return MfaAnswer(form.text("challenge_id"), signed or Secret(form.text("code").replace(" ", "")))


async def show(
    site: Site, request: Request, form: Filled, wanted: str, *, challenge: MfaChallenge | None = None, status: int = 200
) -> Response:
    """The page, for the first step or, with `challenge`, for the second."""
    return await site.page(
        request,
        "sign_in.html",
        form=form,
        next="" if wanted == "/" else wanted,
        again=request.query_params.get("again"),
        challenge=challenge,
        offers=await site.services.sso.offers(),
        status=status,
        **passkeys.facts(site, request),
    )


async def show_again(
    site: Site,
    request: Request,
    form: Form,
    refused: ProblemError,
    wanted: str,
    half: HalfCookie | None,
    note: HalfSignedIn | None,
) -> Response:
    """The page once more: with the question for the factor, with that again, or from the beginning."""
    problem = refused.problem
    if problem.code is ProblemCode.MFA_REQUIRED and half is not None and note is not None:
        challenge = MfaChallenge.model_validate(problem.context)
        answer = await show(site, request, Filled({"email": form.text("email")}), wanted, challenge=challenge)
        await half.write(answer, note)
        return answer
    shown = Filled.again(form, refused, ("email",), {ProblemCode.MFA_CODE_WRONG: "code"})
    if problem.code is ProblemCode.MFA_CODE_WRONG and problem.context.get("attempts_left") and note is not None:
        who = Who(note.user_id, form.text("email"), None, cause_of(request))
        question = await site.services.verification.question(who, form.text("challenge_id"))
        return await show(site, request, shown, wanted, challenge=question.challenge, status=problem.status)
    return await show(site, request, shown, wanted, status=problem.status)


def name_of(request: Request) -> str:
    """What the browser calls itself, in a word or two: “Firefox on Linux”."""
    agent = request.headers.get("user-agent", "")
    # The order matters: most browsers also claim to be the others.
    program = next((word for word in ("Edg", "OPR", "Firefox", "Chrome", "Safari") if word in agent), "Browser")
    system = next((word for word in ("Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux") if word in agent), "")
    shown = {"Edg": "Edge", "OPR": "Opera"}.get(program, program)
    return f"{shown} on {system}"[:_LONGEST_NAME] if system else shown


class HalfCookie:
    """The sealed note between the two steps."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._https = site.settings.door.https

    async def write(self, answer: Response, half: HalfSignedIn) -> None:
        """Leave it with the browser."""
        until = self._site.services.sources.now() + _HALF_GOOD_FOR
        said = {
            "user": half.user_id,
            "password": half.password,
            "method": half.method.value,
            "second_factor": half.second_factor,
            "ends_at": None if half.ends_at is None else half.ends_at.isoformat(),
            "until": until.isoformat(),
        }
        async with self._site.services.database.write() as session:
            sealed = await self._site.services.vault.seal(session, None, *_PLACE, json.dumps(said).encode())
        answer.set_cookie(
            browser.cookie_name(https=self._https, name=_HALF),
            base64.urlsafe_b64encode(sealed).decode(),
            max_age=int(_HALF_GOOD_FOR.total_seconds()),
            httponly=True,
            secure=self._https,
            samesite="strict",
            path="/",
        )

    async def read(self, request: Request) -> HalfSignedIn:
        """What it says; ProblemError `mfa_challenge_over` if there is none that holds."""
        kept = request.cookies.get(browser.cookie_name(https=self._https, name=_HALF), "")
        try:
            async with self._site.services.database.read() as session:
                sealed = base64.urlsafe_b64decode(kept.encode())
                secret = await self._site.services.vault.open(session, None, *_PLACE, sealed)
            said: dict[str, Any] = json.loads(secret.reveal())
            if datetime.fromisoformat(said["until"]) > self._site.services.sources.now():
                ends_at = None if said["ends_at"] is None else datetime.fromisoformat(said["ends_at"])
                method = Method(said["method"])
                return HalfSignedIn(said["user"], said["password"], method, said["second_factor"], ends_at)
        except (ValueError, KeyError, WardgateError):
            pass
        raise ProblemError(ProblemCode.MFA_CHALLENGE_OVER, "That took too long: please sign in again.")

    def clear(self, answer: Response) -> None:
        """Forget it."""
        answer.delete_cookie(
            browser.cookie_name(https=self._https, name=_HALF),
            httponly=True,
            secure=self._https,
            samesite="strict",
            path="/",
        )


_PLACE = ("browser", "sign-in", "half")
