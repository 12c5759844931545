"""The overview of a project: what goes on now, and what was of late."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from ....api.sessions import SessionFilter, SessionState
from ...access.activity import MOST_STEPS
from ...identity import Actor, Permission, Scope
from ...paging import Paging
from ..browser import viewer
from ..site import Site

_LIVE: Final = 8
_SPANS: Final = ((1, "Day"), (14, "2 weeks"), (60, "2 months"))
_Viewer = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_OWN_SESSION_READ, within=True))]


def build(site: Site) -> APIRouter:
    """The page."""
    router = APIRouter()
    services = site.services

    @router.get("/projects/{project_id}/overview")
    async def overview_page(
        request: Request, project_id: str, actor: _Viewer, days: Annotated[int, Query(ge=1, le=MOST_STEPS)] = 14
    ) -> Response:
        """Numbers, live sessions, who and what most, and gateways that are down."""
        activity = await services.access.activity(actor, project_id, days)
        live = await services.access.list_visible(
            actor, project_id, Paging(limit=_LIVE), SessionFilter(state=SessionState.LIVE)
        )
        gateways = []
        if actor.may(Permission.PROJECT_GATEWAY_READ, Scope(project_id)):
            gateways = (await services.fleet.list_gateways(project_id, Paging(limit=100))).items
        most = max([1, *(step.sessions for step in activity.steps)])
        return await site.page(
            request,
            "overview/overview.html",
            activity=activity,
            live=live,
            down=[each for each in gateways if each.status == "offline"],
            gateways=gateways,
            days=days,
            spans=_SPANS,
            most=most,
        )

    return router
