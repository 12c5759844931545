"""Sessions over HTTP: for people, and for the gateways that serve them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from ...api.machine import Lease, LeaseRequest
from ...api.machine import SessionState as SessionReport
from ...api.models import EndReason, Page, Session, SessionGrant, SessionRequest, SessionRoutes
from ...api.sessions import Activity, SessionFilter, SessionState
from ..fleet import Caller, operates
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .activity import MOST_STEPS as MOST_DAYS
from .gateways import GatewayAccess
from .service import AccessService

GatewayCaller = Annotated[Caller, Depends(operates(Permission.MACHINE_GATEWAY_OPERATE))]


def session_filter(
    state: Annotated[SessionState | None, Query()] = None,
    end_reason: Annotated[EndReason | None, Query()] = None,
    user: Annotated[str | None, Query(max_length=254, description="E-mail address or id.")] = None,
    resource: Annotated[str | None, Query(max_length=64, description="Name or id.")] = None,
    account: Annotated[str | None, Query(max_length=64, description="Name or id.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Created then or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Created before.")] = None,
) -> SessionFilter:
    """The FastAPI dependency that reads which sessions are meant."""
    return SessionFilter(
        state=state, end_reason=end_reason, user=user, resource=resource, account=account, since=since, until=until
    )


def build(access: AccessService, gateways: GatewayAccess) -> APIRouter:
    """All routes of sessions but those of their records."""
    router = APIRouter(tags=["sessions"])

    @router.post("/projects/{project_id}/sessions", status_code=201)
    async def create_session(
        project_id: str,
        body: SessionRequest,
        # The gates judge the exact account; who has no role in the project sees no project.
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_OWN_SESSION_CREATE, within=True))],
    ) -> SessionGrant:
        """Open a session, if every gate is passed."""
        return await access.create(actor, project_id, body)

    @router.get("/projects/{project_id}/sessions")
    async def list_sessions(
        project_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_OWN_SESSION_READ, within=True))],
        page: Annotated[Paging, Depends(paging)],
        asked: Annotated[SessionFilter, Depends(session_filter)],
    ) -> Page[Session]:
        """The project's sessions that you may see, newest first."""
        return await access.list_visible(actor, project_id, page, asked)

    @router.get("/projects/{project_id}/activity")
    async def get_activity(
        project_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_OWN_SESSION_READ, within=True))],
        days: Annotated[
            int, Query(ge=1, le=MOST_DAYS, description="So many days back; up to two come by the hour.")
        ] = 14,
    ) -> Activity:
        """What the sessions that you may see add up to."""
        return await access.activity(actor, project_id, days)

    @router.get("/sessions/{session_id}")
    async def get_session(
        session_id: str, actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]
    ) -> Session:
        """One session."""
        return await access.get(actor, session_id)

    @router.get("/sessions/{session_id}/routes")
    async def get_session_routes(
        session_id: str, actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]
    ) -> SessionRoutes:
        """The ways to the gateway of a live session of one's own, each with a fresh route token."""
        return await access.routes(actor, session_id)

    @router.post("/sessions/{session_id}/terminate")
    async def terminate_session(
        session_id: str, actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]
    ) -> Session:
        """End a session now."""
        return await access.terminate(actor, session_id)

    @router.post("/sessions/{session_id}/abandon")
    async def abandon_session(
        session_id: str, actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))]
    ) -> Session:
        """Say that one is done with a session of one's own, where its gateway may not have heard it."""
        return await access.abandon(actor, session_id)

    @router.post("/gateway/leases")
    async def lease(body: LeaseRequest, caller: GatewayCaller) -> Lease:
        """A new epoch of a session, with its credentials sealed to the gateway."""
        return await gateways.lease(caller.id, caller.instance_id, body)

    @router.post("/gateway/sessions/{session_id}/state", status_code=204)
    async def report_state(session_id: str, body: SessionReport, caller: GatewayCaller) -> None:
        """The gateway's word on a session."""
        await gateways.report(caller.id, caller.instance_id, session_id, body, caller.cause)

    return router
