"""The fleet over HTTP: for people, and for the machines themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from ...api.machine import (
    EnrolAnswer,
    EnrolRequest,
    HeartbeatAnswer,
    HeartbeatRequest,
    LiveSession,
    RelayConfig,
    RelayConfigRequest,
    RelayHeartbeatAnswer,
    RelayHeartbeatRequest,
    RenewAnswer,
    RenewRequest,
    TestReport,
    TestSecrets,
    TestSecretsRequest,
)
from ...api.models import Gateway, GatewayCreate, GatewayCreated, Page, Relay, RelayCreate, RelayCreated
from ..identity import Actor, Permission, requires
from ..identity.guard import cause_of
from ..paging import Paging, paging
from .enrolment import Enrolment
from .guard import Caller, operates
from .link import LinkHub
from .probes import ConnectionTests
from .service import FleetService

# Access lies above: what becomes of a gateway's sessions is asked through this.
Pulse = Callable[[str, str, Sequence[LiveSession]], Awaitable[HeartbeatAnswer]]
GatewayCaller = Annotated[Caller, Depends(operates(Permission.MACHINE_GATEWAY_OPERATE))]
RelayCaller = Annotated[Caller, Depends(operates(Permission.MACHINE_RELAY_OPERATE))]


def build_people(fleet: FleetService) -> APIRouter:
    """Gateways of a project, relays of the organisation."""
    router = APIRouter(tags=["fleet"])

    @router.post("/projects/{project_id}/gateways", status_code=201)
    async def create_gateway(
        project_id: str,
        body: GatewayCreate,
        actor: Annotated[Actor, Depends(requires(Permission.PROJECT_GATEWAY_CREATE))],
    ) -> GatewayCreated:
        """Make a gateway; the enrolment token is shown this once."""
        return await fleet.create_gateway(actor, project_id, body.name)

    @router.get("/projects/{project_id}/gateways", dependencies=[Depends(requires(Permission.PROJECT_GATEWAY_READ))])
    async def list_gateways(project_id: str, page: Annotated[Paging, Depends(paging)]) -> Page[Gateway]:
        """A project's gateways."""
        return await fleet.list_gateways(project_id, page)

    @router.post("/projects/{project_id}/gateways/{name}/revoke")
    async def revoke_gateway(
        project_id: str, name: str, actor: Annotated[Actor, Depends(requires(Permission.PROJECT_GATEWAY_REVOKE))]
    ) -> Gateway:
        """Cut a gateway off and end its sessions."""
        return await fleet.revoke_gateway(actor, project_id, name)

    @router.post("/projects/{project_id}/gateways/{name}/tokens", status_code=201)
    async def create_gateway_token(
        project_id: str, name: str, actor: Annotated[Actor, Depends(requires(Permission.PROJECT_GATEWAY_CREATE))]
    ) -> GatewayCreated:
        """A token by which a further instance of a gateway enrols; it is shown this once."""
        return await fleet.create_token(actor, project_id, name)

    @router.post("/projects/{project_id}/gateways/{name}/instances/{instance_id}/revoke")
    async def revoke_gateway_instance(
        project_id: str,
        name: str,
        instance_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.PROJECT_GATEWAY_REVOKE))],
    ) -> Gateway:
        """Cut one instance of a gateway off; its sessions may go on at the others."""
        return await fleet.revoke_instance(actor, project_id, name, instance_id)

    @router.post("/relays", status_code=201)
    async def create_relay(
        body: RelayCreate, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_RELAY_CREATE))]
    ) -> RelayCreated:
        """Make a relay; the enrolment token is shown this once."""
        return await fleet.create_relay(actor, body.name)

    @router.get("/relays", dependencies=[Depends(requires(Permission.ORGANISATION_RELAY_READ))])
    async def list_relays(page: Annotated[Paging, Depends(paging)]) -> Page[Relay]:
        """The relays."""
        return await fleet.list_relays(page)

    @router.post("/relays/{name}/revoke")
    async def revoke_relay(
        name: str, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_RELAY_REVOKE))]
    ) -> Relay:
        """Cut a relay off."""
        return await fleet.revoke_relay(actor, name)

    return router


def build_machines(
    fleet: FleetService,
    enrolment: Enrolment,
    hub: LinkHub,
    tests: ConnectionTests,
    pulse: Pulse,
    stopping: asyncio.Event,
) -> APIRouter:
    """What gateways and relays call."""
    router = APIRouter(tags=["machines"])

    @router.post("/enrol")
    async def enrol(body: EnrolRequest, request: Request) -> EnrolAnswer:
        """Join with an enrolment token, which is proved and not sent."""
        return await enrolment.enrol(body, cause_of(request, actor=f"a new {body.kind}"))

    @router.get("/gateway/link", response_class=StreamingResponse)
    async def gateway_link(caller: GatewayCaller) -> StreamingResponse:
        """Server-sent events: each `data:` is a LinkEvent."""

        async def lines() -> AsyncIterator[str]:
            with hub.connected(caller.id, caller.instance_id) as link:
                for event in await tests.waiting(caller.id, caller.instance_id):
                    link.push(event)
                async for line in link.lines(stopping):
                    yield line

        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)

    @router.post("/gateway/heartbeat")
    async def gateway_heartbeat(body: HeartbeatRequest, caller: GatewayCaller) -> HeartbeatAnswer:
        """Say what is alive; hear what must end, what was renewed, and which relays to use."""
        fleets = await fleet.seen(caller, body)
        sessions = await pulse(caller.id, caller.instance_id, body.sessions)
        return fleets.model_copy(update={"end": sessions.end, "renewed": sessions.renewed})

    @router.post("/gateway/renew")
    async def gateway_renew(body: RenewRequest, caller: GatewayCaller) -> RenewAnswer:
        """A new certificate."""
        return await enrolment.renew(caller, body.csr)

    @router.post("/gateway/tests/{test_id}/secrets")
    async def test_secrets(test_id: str, body: TestSecretsRequest, caller: GatewayCaller) -> TestSecrets:
        """The credentials of a connection test, sealed to this gateway, once."""
        return await tests.secrets(caller.id, caller.instance_id, test_id, body.public_key)

    @router.post("/gateway/tests/{test_id}", status_code=204)
    async def report_test(test_id: str, body: TestReport, caller: GatewayCaller) -> None:
        """What a connection test found."""
        await tests.report(caller.id, caller.instance_id, test_id, body.result)

    @router.post("/relay/config")
    async def relay_config(body: RelayConfigRequest, caller: RelayCaller) -> RelayConfig:
        """A relay's route key, sealed to it."""
        return await fleet.relay_config(caller, body)

    @router.post("/relay/heartbeat")
    async def relay_heartbeat(body: RelayHeartbeatRequest, caller: RelayCaller) -> RelayHeartbeatAnswer:
        """Say where it is and whom it carries; hear whom not to let in."""
        return await fleet.relay_seen(caller, body)

    @router.post("/relay/renew")
    async def relay_renew(body: RenewRequest, caller: RelayCaller) -> RenewAnswer:
        """A new certificate."""
        return await enrolment.renew(caller, body.csr)

    return router
