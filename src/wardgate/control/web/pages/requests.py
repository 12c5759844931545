"""Access requests: one's own, and those that one may decide on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from ....api.approvals import AccessRequest, Decision, RequestStatus
from ....api.problems import ProblemError
from ...identity import Actor, Permission
from ...identity.actor import Scope
from ...paging import Paging
from ..browser import viewer
from ..forms import Form
from ..live import changes
from ..site import Site

_PAGE = 50
_Reader = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_DETAILS_READ, within=True))]
# Whose a request is, and who may decide on it, is the service's question, as in the API.
_Anybody = Annotated[Actor, Depends(viewer(Permission.SELF_IDENTITY_READ))]


def build(site: Site) -> APIRouter:
    """The pages below `/projects/{project_id}/requests`."""
    router = APIRouter()
    _reading(router, site)
    _deciding(router, site)
    return router


def _reading(router: APIRouter, site: Site) -> None:
    approvals = site.services.approvals

    @router.get("/projects/{project_id}/requests")
    async def requests_page(
        request: Request, project_id: str, actor: _Reader, show: str = "pending", after: str | None = None
    ) -> Response:
        """Requests, those that wait for a decision first."""
        pending = show != "all"
        page = await approvals.page(actor, project_id, Paging(after, _PAGE), pending=pending)
        return await site.page(request, "requests/list.html", page=page, pending=pending, after=after)

    @router.get("/projects/{project_id}/requests/events")
    async def requests_events(request: Request, project_id: str, actor: _Reader) -> Response:
        """Whether the list is different now."""

        async def look() -> object:
            page = await approvals.page(actor, project_id, Paging(limit=_PAGE), pending=False)
            return [(each.id, each.status) for each in page.items]

        return changes(look, site.services.stopping)

    @router.get("/projects/{project_id}/requests/{request_id}")
    async def request_page(request: Request, project_id: str, request_id: str, actor: _Reader) -> Response:
        """One request."""
        found = await approvals.get(actor, request_id)
        return await site.page(request, "requests/show.html", asked=found, may_decide=_may_decide(actor, found))


def _may_decide(actor: Actor, found: AccessRequest) -> bool:
    """Whether to show the buttons; the service decides."""
    return found.user != actor.email and actor.may_within(Permission.ACCOUNT_REQUEST_DECIDE, Scope(found.project_id))


def _deciding(router: APIRouter, site: Site) -> None:
    approvals = site.services.approvals

    @router.post("/projects/{project_id}/requests/{request_id}/decide")
    async def decide_request(request: Request, project_id: str, request_id: str, actor: _Anybody) -> Response:
        """Approve, deny or take back, with a word to it."""
        form = await Form.of(request)
        url = f"/projects/{project_id}/requests/{request_id}"
        try:
            note = form.read(Decision).note
            decide = approvals.approve if form.text("decision") == "approve" else approvals.deny
            done = await decide(actor, request_id, note)
        except ProblemError as refused:
            return site.redirect(request, url, flash=refused.problem.detail, tone="bad")
        words = {
            RequestStatus.APPROVED: f"{done.user} may get in now.",
            RequestStatus.DENIED: f"The request of {done.user} is denied.",
        }
        return site.redirect(request, url, flash=words.get(done.status, "The grant is taken back."))

    @router.post("/projects/{project_id}/requests/{request_id}/cancel")
    async def cancel_request_now(request: Request, project_id: str, request_id: str, actor: _Anybody) -> Response:
        """Take one's own request back, or give one's grant up."""
        url = f"/projects/{project_id}/requests/{request_id}"
        try:
            await approvals.cancel(actor, request_id)
        except ProblemError as refused:
            return site.redirect(request, url, flash=refused.problem.detail, tone="bad")
        return site.redirect(request, url, flash="It is taken back.")
