"""The organisation's settings: second factors, single sign-on, and where everything is sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ....api.mfa import MfaPolicyUpdate
from ....api.problems import ProblemError
from ...identity import Actor, Permission
from ...identity.actor import ORGANISATION
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site


def build(site: Site) -> APIRouter:
    """The page, and its form."""
    router = APIRouter()
    services = site.services

    async def show(request: Request, actor: Actor, form: Filled | None = None) -> Response:
        policy = await services.mfa.policy()
        values: dict[str, Any] = {**policy.model_dump(mode="json"), "enforced": policy.enforced or ""}
        streams = []
        if actor.may(Permission.ORGANISATION_STREAM_READ, ORGANISATION):
            streams = (await services.streams.list_(None, Paging(limit=100))).items
        status = 200 if form is None or form.problem is None else form.problem.status
        return await site.page(
            request,
            "settings/organisation.html",
            status=status,
            form=form or Filled(values),
            providers=await services.providers.list_all(),
            streams=streams,
        )

    @router.get("/settings")
    async def organisation_page(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_SETTINGS_READ))]
    ) -> Response:
        """All of them."""
        return await show(request, actor)

    @router.post("/settings/mfa")
    async def update_mfa_policy(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_SETTINGS_UPDATE))]
    ) -> Response:
        """Which second factor, and whether at sign-in."""
        form = await Form.of(request)
        try:
            await services.mfa.set_policy(actor, form.read(MfaPolicyUpdate, enforced=form.text("enforced") or None))
        except ProblemError as refused:
            return await show(
                request, actor, Filled.again(form, refused, ("enforced", "at_sign_in", "user_verification"))
            )
        return site.redirect(request, "/settings", flash="The rule for second factors holds from now on.")

    return router
