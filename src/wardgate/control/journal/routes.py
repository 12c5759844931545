"""The control plane's audit log over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from ...api.journal import AuditEntry, JournalVerification
from ...api.models import Page
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .service import JournalService
from .store import Filter


def build(journal: JournalService) -> APIRouter:
    """The routes below `/audit-events`."""
    router = APIRouter(prefix="/audit-events", tags=["audit log"])

    @router.get("")
    async def list_events(
        actor: Annotated[Actor, Depends(requires(Permission.PROJECT_AUDIT_READ, within=True))],
        page: Annotated[Paging, Depends(paging)],
        project_id: Annotated[str | None, Query(max_length=64)] = None,
        by: Annotated[
            str | None, Query(max_length=254, description="Of this actor: e-mail address, name or id.")
        ] = None,
        event: Annotated[str | None, Query(max_length=64, description="A name, or the first part of one.")] = None,
        target: Annotated[str | None, Query(max_length=64, description="On the thing with this id.")] = None,
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
        address: Annotated[str | None, Query(max_length=64, description="From this address.")] = None,
        client: Annotated[
            str | None, Query(max_length=200, description="By a program that calls itself so, or in part so.")
        ] = None,
    ) -> Page[AuditEntry]:
        """Who did what to what, newest first, of the places that you may read."""
        wanted = Filter(project_id, by, event, target, since, until, address, client)
        return await journal.page(actor, wanted, page)

    @router.get("/verification", dependencies=[Depends(requires(Permission.ORGANISATION_AUDIT_VERIFY))])
    async def verify_events() -> JournalVerification:
        """Whether the log is whole and unaltered."""
        return await journal.verify()

    return router
