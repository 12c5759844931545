"""Gateways and relays as people and programs use them: made, listed, revoked, seen, and routed through."""

from __future__ import annotations

import asyncio
import hashlib
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
from ...tunnel.names import instance_tag
from ..audit_log import AuditLog, Event
from ..audit_log.log import SYSTEM
from ..db import Database
from ..identity.actor import Actor, not_found
from ..paging import Paging, page_of
from ..projects import ProjectService
from ..sources import Sources
from ..vault import CertificateAuthority, Vault
from . import store
from .describe import Presence, describe_gateway, describe_relay
from .enrolment import Enrolment
from .guard import Caller
from .link import LinkHub
from .model import GatewayRow, InstanceRow, RelayRow
from .sealed import seal_answer

_EMBEDDED = "embedded"
_DIRECT = "direct"  # in the place of a route token, where no relay looks at it
_ROUTE_KEY_BYTES = 32
_STARTING = timedelta(seconds=60)  # a gateway that is this new may still be on its way
_STARTING_WAIT = 10.0
_RELAY_KEPT = timedelta(hours=1)
_LOOK_AGAIN = 0.5
_LINK_KEPT = timedelta(seconds=15)


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
        node: str,
    ) -> None:
        self._node = node
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
        self._presence = Presence(self._is_online, lambda row: row.carried)
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
        shown = describe_gateway(row, [], self._presence).model_dump()
        return GatewayCreated(**shown, token=token, token_expires_at=issued.expires_at)

    async def create_token(self, actor: Actor, project_id: str, name: str) -> GatewayCreated:
        """A token for a further instance; ProblemError `not_found`."""
        async with self._database.write() as session:
            row = await self.find_gateway(session, project_id, name)
            token, issued = await self._enrolment.issue(session, row.id)
            details = {"name": name}
            await self._audit_log.append(
                session, actor.cause, Event.GATEWAY_TOKEN_CREATED, row.id, project_id=project_id, details=details
            )
            shown = (await self._describe_gateway(session, row)).model_dump()
        return GatewayCreated(**shown, token=token, token_expires_at=issued.expires_at)

    async def list_gateways(self, project_id: str, paging: Paging) -> Page[Gateway]:
        """A project's gateways."""
        async with self._database.read() as session:
            rows = await store.gateways(session, project_id, paging.after, paging.limit + 1)
            instances = await store.instances(session, [row.id for row in rows])
        return page_of(
            rows, paging, lambda row: describe_gateway(row, instances[row.id], self._presence), lambda row: row.id
        )

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
            shown = await self._describe_gateway(session, row)
        for told in self.on_revoked:
            await told(row.id, row.name)
        self._hub.cut(row.id)
        return shown

    async def revoke_instance(self, actor: Actor, project_id: str, name: str, instance_id: str) -> Gateway:
        """Cut one instance off for good. Its sessions are leased to the others as their local proxies come back."""
        async with self._database.write() as session:
            row = await self.find_gateway(session, project_id, name)
            instance = await session.get(InstanceRow, instance_id)
            if instance is None or instance.gateway_id != row.id:
                raise not_found(f"instance {instance_id[:64]} of the gateway {name[:63]}")
            if instance.revoked_at is None:
                instance.revoked_at = self._sources.now()
                details = {"name": name, "instance": instance.id}
                await self._audit_log.append(
                    session, actor.cause, Event.GATEWAY_INSTANCE_REVOKED, row.id, project_id=project_id, details=details
                )
                await session.flush()
            shown = await self._describe_gateway(session, row)
        self._hub.cut(row.id, instance_id)
        return shown

    async def find_gateway(self, session: AsyncSession, project_id: str, name: str) -> GatewayRow:
        """The usable gateway of that name, for a resource that wants it; ProblemError `not_found`."""
        row = await store.gateway_by_name(session, project_id, name)
        if row is None:
            raise not_found(f"gateway {name[:63]} in this project")
        return row

    async def gateways_like(self, session: AsyncSession, project_id: str, text: str) -> list[str]:
        """The ids of a project's gateways whose name has `text` in it."""
        return await store.gateways_like(session, project_id, text)

    async def gateway_name(self, session: AsyncSession, gateway_id: str) -> str:
        """What a gateway is called."""
        row = await session.get(GatewayRow, gateway_id)
        return "?" if row is None else row.name

    async def seen(self, caller: Caller, request: HeartbeatRequest) -> HeartbeatAnswer:
        """A gateway's heartbeat: note it, and answer with what the fleet knows (sessions are access's to add)."""
        async with self._database.write(shared=True) as session:
            row = await session.get(InstanceRow, caller.instance_id)
            assert row is not None
            row.last_seen_at = self._sources.now()
            row.version, row.advertise, row.host = request.version or None, request.advertise, request.host
            row.carried = len(request.sessions)
            relays = await self._reachable_through(session)
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
            instances = await self._usable(session, gateway_id)
        if instances is None:
            return False
        if any(self._is_online(each) for each in instances):
            return True
        if wait and self._may_be_starting(instances):
            return await self._wait_linked(gateway_id)
        return False

    async def _wait_linked(self, gateway_id: str) -> bool:
        """Whether an instance comes soon, to this node or, where there are others, to one of them."""
        if self._database.address is None:
            return await self._hub.wait_linked(gateway_id, _STARTING_WAIT)
        loop = asyncio.get_running_loop()
        until = loop.time() + _STARTING_WAIT
        while loop.time() < until:
            if await self._hub.wait_linked(gateway_id, _LOOK_AGAIN):
                return True
            async with self._database.read() as session:
                instances = await self._usable(session, gateway_id) or []
            if any(self._is_linked(each) for each in instances):
                return True
        return False

    async def keep_links(self) -> None:
        """Say which links end at this node, so that the others know; run every few seconds, and when one changes."""
        if self._database.address is None:
            return
        self._hub.changed.clear()
        until = self._sources.now() + _LINK_KEPT
        async with self._database.write(shared=True) as session:
            await store.note_links(session, self._node, sorted(self._hub.linked()), until)

    async def instance_online(self, gateway_id: str) -> str | None:
        """An instance that is online: the one that was seen last."""
        async with self._database.read() as session:
            instances = await self._usable(session, gateway_id) or []
        online = [each for each in instances if self._is_linked(each)]
        newest = max(online, key=lambda each: each.last_seen_at or each.created_at, default=None)
        return None if newest is None else newest.id

    async def instance_linked(self, session: AsyncSession, instance_id: str) -> bool:
        """Whether an instance's control link is up, at whichever node."""
        row = await session.get(InstanceRow, instance_id)
        return row is not None and self._is_linked(row)

    async def _usable(self, session: AsyncSession, gateway_id: str) -> list[InstanceRow] | None:
        """The instances that are not revoked; None if the gateway is, or is not there."""
        row = await session.get(GatewayRow, gateway_id)
        if row is None or row.revoked_at is not None:
            return None
        return [each for each in (await store.instances(session, [gateway_id]))[gateway_id] if each.revoked_at is None]

    def _may_be_starting(self, instances: list[InstanceRow]) -> bool:
        """None enrolled yet, one enrolled or seen within the last minute, or we ourselves have only just started."""
        since = self._sources.now() - _STARTING
        moments = [self._started_at]
        for each in instances:
            moments += [moment for moment in (each.enrolled_at, each.last_seen_at) if moment is not None]
        return not instances or max(moments) > since

    def _is_online(self, row: InstanceRow) -> bool:
        lately = row.last_seen_at is not None and row.last_seen_at > self._alive_since()
        return lately and self._is_linked(row)

    def _is_linked(self, row: InstanceRow) -> bool:
        """Whether its control link is up: at this node, or at another that says so."""
        if self._hub.is_linked(row.gateway_id, row.id):
            return True
        elsewhere = row.link_node not in (None, self._node)
        return elsewhere and row.linked_until is not None and row.linked_until > self._sources.now()

    def order_end(self, gateway_id: str, order: SessionOrder) -> None:
        """Tell a gateway to end a session: all of its instances, because who serves it may have changed just now."""
        self._hub.push(gateway_id, LinkEvent(end=order))

    def fence(self, gateway_id: str, instance_id: str | None, order: SessionOrder) -> None:
        """Tell the instance that had a session (all, where nobody knows which) that another epoch has it now."""
        self._hub.push(gateway_id, LinkEvent(end=order), instance_id)

    async def routes(
        self, session: AsyncSession, gateway_id: str, session_id: str, expires_at: datetime
    ) -> list[Route]:
        """The direct routes of instances that are online, then relays, those first that the gateway is connected to."""
        gateway = await session.get(GatewayRow, gateway_id)
        assert gateway is not None
        relays = sorted(
            await store.usable_relays(session, self._alive_since()),
            key=lambda relay: gateway_id not in relay.connected,
        )
        routes = []
        sni = route.server_name(_DIRECT, gateway_id)
        for each in await self._usable(session, gateway_id) or []:
            if each.advertise and each.public_key and self._is_online(each):
                tag = instance_tag(each.public_key)
                routes.append(Route(kind="direct", name=gateway.name, address=each.advertise, sni=sni, instance=tag))
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
        if name == _EMBEDDED or name.startswith(f"{_EMBEDDED}-"):
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

    async def embedded_relay_token(self, address: str) -> tuple[str, str]:
        """(name, fresh token) of the relay that `server run` starts; the same relay each time, under another key.

        Where there are several nodes, each has its own, known by its address.
        """
        alone = self._database.address is None
        async with self._database.write() as session:
            row = await store.embedded_relay(session, None if alone else address)
            if row is None:
                name = _EMBEDDED
                if await store.relay_by_name(session, name) is not None:
                    name = f"{_EMBEDDED}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"
                row = await self._add_relay(session, name, embedded=True)
                details = {"name": row.name, "embedded": True}
                await self._audit_log.append(session, SYSTEM, Event.RELAY_CREATED, row.id, details=details)
            row.address = address
            await store.void_tokens(session, row.id, self._sources.now())
            token, _ = await self._enrolment.issue(session, row.id)
        return row.name, token

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
            keys = await store.revoked_keys(session, row.last_seen_at)
            relays = await self._reachable_through(session)
        if news:
            self._hub.push_all(LinkEvent(relays=relays))
        return RelayHeartbeatAnswer(
            revoked=revoked,
            revoked_instances=[instance_tag(key) for key in keys],
            certificate_expires_at=row.certificate_expires_at,
        )

    async def _route_key(self, session: AsyncSession, row: RelayRow) -> bytes:
        blob = row.sealed_key or b""
        return (await self._vault.open(session, None, RelayRow.__tablename__, row.id, "sealed_key", blob)).reveal()

    # --- shapes ---------------------------------------------------------------------------------------------------

    def _alive_since(self) -> datetime:
        return self._sources.now() - timedelta(seconds=self._numbers.gateway_offline)

    async def _describe_gateway(self, session: AsyncSession, row: GatewayRow) -> Gateway:
        return describe_gateway(row, (await store.instances(session, [row.id]))[row.id], self._presence)

    def _describe_relay(self, row: RelayRow) -> Relay:
        online = row.last_seen_at is not None and row.last_seen_at > self._alive_since()
        return describe_relay(row, online=online)
