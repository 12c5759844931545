"""Access requests over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from ...api.approvals import AccessRequest, AccessRequestCreate, Decision
from ...api.models import Page
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .service import ApprovalService

# Whose a request is, and who may decide on it, is the service's question: the path names no project.
_Anybody = Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]


def build(approvals: ApprovalService) -> APIRouter:
    """The routes below `/requests` and a project's `requests`."""
    router = APIRouter(tags=["requests"])

    @router.post("/projects/{project_id}/requests", status_code=201)
    async def create_request(
        project_id: str,
        body: AccessRequestCreate,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_OWN_SESSION_CREATE, within=True))],
    ) -> AccessRequest:
        """Ask for access to an account that needs an approval."""
        return await approvals.create(actor, project_id, body)

    @router.get("/projects/{project_id}/requests")
    async def list_requests(
        project_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_DETAILS_READ, within=True))],
        page: Annotated[Paging, Depends(paging)],
        pending: Annotated[bool, Query(description="Only those that wait for a decision.")] = False,
    ) -> Page[AccessRequest]:
        """Your requests, and those that you may read, newest first."""
        return await approvals.page(actor, project_id, page, pending=pending)

    @router.get("/requests/{request_id}")
    async def get_request(request_id: str, actor: _Anybody) -> AccessRequest:
        """One request."""
        return await approvals.get(actor, request_id)

    @router.post("/requests/{request_id}/approve")
    async def approve_request(request_id: str, body: Decision, actor: _Anybody) -> AccessRequest:
        """Let them in; never on one's own request."""
        return await approvals.approve(actor, request_id, body.note)

    @router.post("/requests/{request_id}/deny")
    async def deny_request(request_id: str, body: Decision, actor: _Anybody) -> AccessRequest:
        """Refuse a request, or take a grant back: sessions that stand on it end."""
        return await approvals.deny(actor, request_id, body.note)

    @router.post("/requests/{request_id}/cancel")
    async def cancel_request(request_id: str, actor: _Anybody) -> AccessRequest:
        """Take your own request back, or give your grant up."""
        return await approvals.cancel(actor, request_id)

    return router
