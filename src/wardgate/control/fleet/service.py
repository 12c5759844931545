"""Gateways and relays as people and programs use them: made, listed, revoked, seen, and routed through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ... import sealing
from ...api.machine import (
    HeartbeatAnswer,
    HeartbeatRequest,
    LinkEvent,
    RelayAddress,
    RelayConfig,
    RelayConfigRequest,
    RelayHeartbeatAnswer,
    RelayHeartbeatRequest,
    SessionOrder,
)
from ...api.models import Gateway, GatewayCreated, Page, Relay, RelayCreated, Route
from ...api.problems import ProblemCode, ProblemError
from ...ids import Kind
from ...numbers import Numbers
from ...tunnel import route
from ..audit_log import AuditLog, Event
from ..audit_log.log import SYSTEM
from ..db import Database
from ..identity.actor import Actor, not_found
from ..paging import Paging, page_of
from ..projects import ProjectService
from ..sources import Sources
from ..vault import CertificateAuthority, Vault
from . import store
from .describe import describe_gateway, describe_relay
from .enrolment import Enrolment
from .guard import Caller
from .link import LinkHub
from .model import GatewayRow, RelayRow
from .sealed import seal_answer

_EMBEDDED = "embedded"
_DIRECT = "direct"  # in the place of a route token, where no relay looks at it
_ROUTE_KEY_BYTES = 32
_STARTING = timedelta(seconds=60)  # a gateway that is this new may still be on its way
_STARTING_WAIT = 10.0
_RELAY_KEPT = timedelta(hours=1)


class FleetService:
    """The fleet of one installation. `on_revoked` is called with a gateway's id after it was cut off."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        numbers: Numbers,
        vault: Vault,
        ca: CertificateAuthority,
        projects: ProjectService,
        enrolment: Enrolment,
        hub: LinkHub,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._numbers = numbers
        self._vault = vault
        self._ca = ca
        self._projects = projects
        self._enrolment = enrolment
        self._hub = hub
        self._started_at = sources.now()
        self._carried: dict[str, int] = {}  # sessions by gateway, as its last heartbeat listed them
        self.on_revoked: list[Callable[[str, str], Awaitable[None]]] = []

    # --- gateways -------------------------------------------------------------------------------------------------

    async def create_gateway(self, actor: Actor, project_id: str, name: str) -> GatewayCreated:
        """A new gateway with its token; ProblemError `conflict`."""
        async with self._database.write() as session:
            await self._projects.must_exist(session, project_id)
            if await store.gateway_by_name(session, project_id, name) is not None:
                raise ProblemError(
                    ProblemCode.CONFLICT,
                    f"There is already a gateway {name} in this project: revoke it to use the name again.",
                )
            row = GatewayRow(
                id=self._sources.new_id(Kind.GATEWAY), project_id=project_id, name=name, created_at=self._sources.now()
            )
            session.add(row)
            await session.flush()
            token, issued = await self._enrolment.issue(session, row.id)
            await self._audit_log.append(
                session, actor.cause, Event.GATEWAY_CREATED, row.id, project_id=project_id, details={"name": name}
            )
        shown = self._describe_gateway(row).model_dump()
        return GatewayCreated(**shown, token=token, token_expires_at=issued.expires_at)

    async def list_gateways(self, project_id: str, paging: Paging) -> Page[Gateway]:
        """A project's gateways."""
        async with self._database.read() as session:
            rows = await store.gateways(session, project_id, paging.after, paging.limit + 1)
        return page_of(rows, paging, self._describe_gateway, lambda row: row.id)

    async def revoke_gateway(self, actor: Actor, project_id: str, name: str) -> Gateway:
        """Cut a gateway off for good: its signatures are refused, its links cut, its sessions ended, relays told."""
        async with self._database.write() as session:
            row = await store.gateway_by_name(session, project_id, name, revoked=True)
            if row is None:
                raise not_found(f"gateway {name[:63]} in this project")
            if row.revoked_at is None:
                row.revoked_at = self._sources.now()
                await store.void_tokens(session, row.id, row.revoked_at)
                await self._audit_log.append(
                    session, actor.cause, Event.GATEWAY_REVOKED, row.id, project_id=project_id, details={"name": name}
                )
        for told in self.on_revoked:
            await told(row.id, row.name)
        self._hub.cut(row.id)
        return self._describe_gateway(row)

    async def find_gateway(self, session: AsyncSession, project_id: str, name: str) -> GatewayRow:
        """The usable gateway of that name, for a resource that wants it; ProblemError `not_found`."""
        row = await store.gateway_by_name(session, project_id, name)
        if row is None:
            raise not_found(f"gateway {name[:63]} in this project")
        return row

    async def gateway_name(self, session: AsyncSession, gateway_id: str) -> str:
        """What a gateway is called."""
        row = await session.get(GatewayRow, gateway_id)
        return "?" if row is None else row.name

    async def seen(self, caller: Caller, request: HeartbeatRequest) -> HeartbeatAnswer:
        """A gateway's heartbeat: note it, and answer with what the fleet knows (sessions are access's to add)."""
        async with self._database.write() as session:
            row = await session.get(GatewayRow, caller.id)
            assert row is not None
            row.last_seen_at = self._sources.now()
            row.version, row.advertise = request.version or None, request.advertise
            relays = await self._reachable_through(session)
        self._carried[row.id] = len(request.sessions)
        return HeartbeatAnswer(relays=relays, certificate_expires_at=row.certificate_expires_at)

    async def _reachable_through(self, session: AsyncSession) -> list[RelayAddress]:
        """The relays that gateways keep a connection to.

        Longer than a relay counts as online: when the control plane comes back from an outage, nobody has been seen
        lately, and gateways that left their relays for it would cut sessions off that had not noticed anything.
        """
        relays = await store.usable_relays(session, self._sources.now() - _RELAY_KEPT)
        return [RelayAddress(id=each.id, name=each.name, address=each.address or "") for each in relays]

    # --- for access and resources ---------------------------------------------------------------------------------

    async def gateway_online(self, gateway_id: str, *, wait: bool = False) -> bool:
        """Whether the gateway was seen lately and listens; with `wait`, one that is just starting is waited for."""
        async with self._database.read() as session:
            row = await session.get(GatewayRow, gateway_id)
        if row is None or row.revoked_at is not None:
            return False
        if self._is_online(row):
            return True
        if wait and self._may_be_starting(row):
            return await self._hub.wait_linked(gateway_id, _STARTING_WAIT)
        return False

    def _may_be_starting(self, row: GatewayRow) -> bool:
        """Not enrolled yet, enrolled or seen within the last minute, or we ourselves have only just started."""
        since = self._sources.now() - _STARTING
        moments = [self._started_at, row.enrolled_at, row.last_seen_at]
        return row.enrolled_at is None or any(moment is not None and moment > since for moment in moments)

    def _is_online(self, row: GatewayRow) -> bool:
        lately = row.last_seen_at is not None and row.last_seen_at > self._alive_since()
        return lately and self._hub.is_linked(row.id)

    def order_end(self, gateway_id: str, order: SessionOrder) -> None:
        """Tell a gateway to end a session."""
        self._hub.push(gateway_id, LinkEvent(end=order))

    async def routes(
        self, session: AsyncSession, gateway_id: str, session_id: str, expires_at: datetime
    ) -> list[Route]:
        """The direct route where there is one, then relays, those first that the gateway is connected to."""
        gateway = await session.get(GatewayRow, gateway_id)
        assert gateway is not None
        relays = sorted(
            await store.usable_relays(session, self._alive_since()),
            key=lambda relay: gateway_id not in relay.connected,
        )
        routes = []
        if gateway.advertise:
            sni = route.server_name(_DIRECT, gateway_id)
            routes.append(Route(kind="direct", name=gateway.name, address=gateway.advertise, sni=sni))
        until = int((expires_at + timedelta(seconds=self._numbers.certificate_grace)).timestamp())
        for relay in relays:
            key = await self._route_key(session, relay)
            token = route.make_token(key, session_id, gateway_id, until)
            sni = route.server_name(token, gateway_id)
            routes.append(Route(kind="relay", name=relay.name, address=relay.address or "", sni=sni))
        return routes

    # --- relays ---------------------------------------------------------------------------------------------------

    async def create_relay(self, actor: Actor, name: str) -> RelayCreated:
        """A new relay with its token; ProblemError `conflict`."""
        if name == _EMBEDDED:
            raise ProblemError(ProblemCode.CONFLICT, f"The name {name} is kept for the relay of server run.")
        async with self._database.write() as session:
            if await store.relay_by_name(session, name) is not None:
                raise ProblemError(
                    ProblemCode.CONFLICT, f"There is already a relay {name}: revoke it to use the name again."
                )
            row = await self._add_relay(session, name, embedded=False)
            token, issued = await self._enrolment.issue(session, row.id)
            await self._audit_log.append(session, actor.cause, Event.RELAY_CREATED, row.id, details={"name": name})
        shown = self._describe_relay(row).model_dump()
        return RelayCreated(**shown, token=token, token_expires_at=issued.expires_at)

    async def _add_relay(self, session: AsyncSession, name: str, *, embedded: bool) -> RelayRow:
        relay_id = self._sources.new_id(Kind.RELAY)
        key = self._sources.randomness(_ROUTE_KEY_BYTES)
        row = RelayRow(
            id=relay_id,
            name=name,
            embedded=embedded,
            created_at=self._sources.now(),
            sealed_key=await self._vault.seal(session, None, RelayRow.__tablename__, relay_id, "sealed_key", key),
            connected=[],
        )
        session.add(row)
        await session.flush()
        return row

    async def list_relays(self, paging: Paging) -> Page[Relay]:
        """The relays."""
        async with self._database.read() as session:
            rows = await store.relays(session, paging.after, paging.limit + 1)
        return page_of(rows, paging, self._describe_relay, lambda row: row.id)

    async def revoke_relay(self, actor: Actor, name: str) -> Relay:
        """Cut a relay off: gateways are told to leave it, nobody is routed through it any more."""
        async with self._database.write() as session:
            row = await store.relay_by_name(session, name, revoked=True)
            if row is None:
                raise not_found(f"relay {name[:63]}")
            if row.revoked_at is None:
                row.revoked_at = self._sources.now()
                await store.void_tokens(session, row.id, row.revoked_at)
                await self._audit_log.append(session, actor.cause, Event.RELAY_REVOKED, row.id, details={"name": name})
            relays = await self._reachable_through(session)
        self._hub.push_all(LinkEvent(relays=relays))
        return self._describe_relay(row)

    async def embedded_relay_token(self, address: str) -> str:
        """A fresh token for the relay that `server run` starts; the same relay each time, under another key."""
        async with self._database.write() as session:
            row = await store.embedded_relay(session)
            if row is None:
                row = await self._add_relay(session, _EMBEDDED, embedded=True)
                details = {"name": row.name, "embedded": True}
                await self._audit_log.append(session, SYSTEM, Event.RELAY_CREATED, row.id, details=details)
            row.address = address
            await store.void_tokens(session, row.id, self._sources.now())
            token, _ = await self._enrolment.issue(session, row.id)
        return token

    async def relay_config(self, caller: Caller, request: RelayConfigRequest) -> RelayConfig:
        """What a relay needs to work offline: its route key, sealed to it."""
        async with self._database.read() as session:
            row = await session.get(RelayRow, caller.id)
            assert row is not None
            key = await self._route_key(session, row)
        sealed = seal_answer(request.public_key, sealing.relay_key_info(caller.id), key)
        return RelayConfig(sealed_key=sealed, gateway_ca=self._ca.intermediates["gateways"])

    async def relay_seen(self, caller: Caller, request: RelayHeartbeatRequest) -> RelayHeartbeatAnswer:
        """A relay's heartbeat: note it, and answer with the gateways that it may not let in."""
        async with self._database.write() as session:
            row = await session.get(RelayRow, caller.id)
            assert row is not None
            news = row.address != request.address or row.last_seen_at is None
            row.last_seen_at = self._sources.now()
            row.version, row.address, row.connected = request.version or None, request.address, list(request.gateways)
            await session.flush()
            revoked = await store.revoked_gateways(session, row.last_seen_at)
            relays = await self._reachable_through(session)
        if news:
            self._hub.push_all(LinkEvent(relays=relays))
        return RelayHeartbeatAnswer(revoked=revoked, certificate_expires_at=row.certificate_expires_at)

    async def _route_key(self, session: AsyncSession, row: RelayRow) -> bytes:
        blob = row.sealed_key or b""
        return (await self._vault.open(session, None, RelayRow.__tablename__, row.id, "sealed_key", blob)).reveal()

    # --- shapes ---------------------------------------------------------------------------------------------------

    def _alive_since(self) -> datetime:
        return self._sources.now() - timedelta(seconds=self._numbers.gateway_offline)

    def _describe_gateway(self, row: GatewayRow) -> Gateway:
        online = self._is_online(row)
        return describe_gateway(row, online=online, sessions=self._carried.get(row.id, 0) if online else 0)

    def _describe_relay(self, row: RelayRow) -> Relay:
        online = row.last_seen_at is not None and row.last_seen_at > self._alive_since()
        return describe_relay(row, online=online)
