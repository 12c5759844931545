"""The sessions of a project: who reached what, live and past."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from ....api.models import EndReason
from ....api.sessions import SessionFilter, SessionState
from ...access.routes import session_filter
from ...identity import Actor, Permission
from ...paging import Paging
from ..browser import viewer
from ..live import changes
from ..site import Site

_PAGE: Final = 50
_Viewer = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_OWN_SESSION_READ, within=True))]


def build(site: Site) -> APIRouter:
    """The list, and the stream that says when it is different."""
    router = APIRouter()
    access = site.services.access

    @router.get("/projects/{project_id}/sessions")
    async def sessions_page(
        request: Request,
        project_id: str,
        actor: _Viewer,
        asked: Annotated[SessionFilter, Depends(session_filter)],
        after: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Response:
        """The list, narrowed by what its URL says."""
        page = await access.list_visible(actor, project_id, Paging(after, _PAGE), asked)
        return await site.page(
            request,
            "sessions/list.html",
            page=page,
            asked=asked,
            values=values_of(asked),
            after=after,
            states=SessionState,
            reasons=EndReason,
        )

    @router.get("/projects/{project_id}/sessions/events")
    async def sessions_events(project_id: str, actor: _Viewer) -> StreamingResponse:
        """Says when the newest sessions have changed."""

        async def look() -> object:
            page = await access.list_visible(actor, project_id, Paging(limit=_PAGE))
            return [(each.id, each.status, each.commands, each.errors, each.link) for each in page.items]

        return changes(look, site.services.stopping)

    return router


def values_of(asked: SessionFilter) -> dict[str, Any]:
    """The filter as it stands in a URL."""
    return {name: value for name, value in asked.model_dump(mode="json").items() if value is not None}
