"""Approving an access (or a change of one's factors) that was asked for elsewhere, with a passkey.

The page shows what it is for and the four characters that the terminal shows too. Who looks may be signed in at another
device than the one that asked; what the passkey signs is the question itself.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ....api.mfa import ChallengeState
from ....api.problems import Problem, ProblemCode, ProblemError
from ....api.webauthn import PasskeyAssertion
from ...identity import Actor, Permission
from ...mfa.changes import who
from .. import passkeys
from ..browser import viewer
from ..forms import Form
from ..site import Site

_Viewer = Annotated[Actor, Depends(viewer(Permission.SELF_IDENTITY_READ))]


def build(site: Site) -> APIRouter:
    """`/approve/{challenge}`."""
    router = APIRouter()

    @router.get("/approve/{challenge}")
    async def approve_page(request: Request, challenge: str, actor: _Viewer) -> Response:
        """What is asked for, by whom, and for how long."""
        return await _show(site, request, challenge, actor)

    @router.post("/approve/{challenge}")
    async def approve(request: Request, challenge: str, actor: _Viewer) -> Response:
        """Judge the passkey's answer."""
        form = await Form.of(request)
        try:
            signed = passkeys.answer_in(form, PasskeyAssertion)
            if signed is not None:
                await site.services.verification.verify(who(actor), challenge, signed)
        except ProblemError as refused:
            if refused.problem.code is ProblemCode.NOT_FOUND:
                raise
            return await _show(site, request, challenge, actor, refused.problem)
        return site.redirect(request, f"/approve/{challenge}")

    @router.post("/approve/{challenge}/refuse")
    async def refuse(request: Request, challenge: str, actor: _Viewer) -> Response:
        """It was not them who asked."""
        try:
            await site.services.verification.refuse(who(actor), challenge)
        except ProblemError as refused:
            if refused.problem.code is not ProblemCode.MFA_CHALLENGE_OVER:
                raise
        return site.redirect(request, f"/approve/{challenge}")

    return router


async def _show(site: Site, request: Request, challenge: str, actor: Actor, problem: Problem | None = None) -> Response:
    question = await site.services.verification.question(who(actor), challenge)
    facts: dict[str, Any] = {"question": question, "problem": problem, "State": ChallengeState}
    status = 200 if problem is None else problem.status
    return await site.page(request, "factors/approve.html", status=status, **facts, **passkeys.facts(site, request))
