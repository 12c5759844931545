"""The control plane's own audit log, of a project or of everything that one may read."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from ...identity import Actor, Permission
from ...journal.store import Filter
from ...paging import Paging
from ..browser import viewer
from ..site import Site

_PAGE: Final = 100
_Reader = Annotated[Actor, Depends(viewer(Permission.PROJECT_AUDIT_READ, within=True))]
_After = Annotated[str | None, Query(max_length=256)]
_By = Annotated[str | None, Query(max_length=254)]
_Event = Annotated[str | None, Query(max_length=64)]


def build(site: Site) -> APIRouter:
    """The log, and the check that it is whole."""
    router = APIRouter()
    journal = site.services.journal

    async def show(
        request: Request, actor: Actor, project_id: str | None, by: str | None, event: str | None, after: str | None
    ) -> Response:
        wanted = Filter(project_id, by or None, event or None, None, None, None)
        page = await journal.page(actor, wanted, Paging(after, _PAGE))
        values = {name: value for name, value in (("by", by), ("event", event)) if value}
        return await site.page(request, "audit/list.html", page=page, values=values, after=after, told=_told)

    @router.get("/projects/{project_id}/audit")
    async def project_audit_page(
        request: Request, project_id: str, actor: _Reader, by: _By = None, event: _Event = None, after: _After = None
    ) -> Response:
        """Of one project."""
        return await show(request, actor, project_id, by, event, after)

    @router.get("/audit")
    async def audit_page(
        request: Request, actor: _Reader, by: _By = None, event: _Event = None, after: _After = None
    ) -> Response:
        """Of all places that one may read."""
        return await show(request, actor, None, by, event, after)

    @router.get("/audit/verification")
    async def audit_verification(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_AUDIT_VERIFY))]
    ) -> Response:
        """Check the whole chain of events."""
        return await site.page(request, "audit/verification.html", found=await journal.verify())

    return router


def _told(details: dict[str, Any]) -> str:
    """An event's facts on one line."""
    return ", ".join(f"{name}: {_plain(value)}" for name, value in details.items() if value not in (None, "", [], {}))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)
