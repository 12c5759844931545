"""Queries of the fleet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from .model import AssertionRow, EnrolmentTokenRow, GatewayRow, InstanceRow, RelayRow

MachineRow: TypeAlias = InstanceRow | RelayRow
_RELAY = "rly_"


async def machine(session: AsyncSession, machine_id: str) -> MachineRow | None:
    """The gateway's instance or relay with that id."""
    if machine_id.startswith(_RELAY):
        return await session.get(RelayRow, machine_id)
    return await session.get(InstanceRow, machine_id)


async def joins(session: AsyncSession, machine_id: str) -> GatewayRow | RelayRow | None:
    """What a token is for: a relay, or a gateway that gets an instance."""
    if machine_id.startswith(_RELAY):
        return await session.get(RelayRow, machine_id)
    return await session.get(GatewayRow, machine_id)


async def instances(session: AsyncSession, gateway_ids: Iterable[str]) -> dict[str, list[InstanceRow]]:
    """The instances of these gateways, oldest first; a gateway that has none is in it too."""
    found: dict[str, list[InstanceRow]] = {gateway_id: [] for gateway_id in gateway_ids}
    query = select(InstanceRow).where(InstanceRow.gateway_id.in_(list(found))).order_by(InstanceRow.id)
    for row in await session.scalars(query):
        found[row.gateway_id].append(row)
    return found


async def gateway_by_name(
    session: AsyncSession, project_id: str, name: str, *, revoked: bool = False
) -> GatewayRow | None:
    """The gateway of that name in a project; with `revoked`, the last one that bore it if none does now."""
    query = select(GatewayRow).where(GatewayRow.project_id == project_id, GatewayRow.name == name)
    query = query.order_by(GatewayRow.revoked_at.is_not(None), GatewayRow.id.desc()).limit(1)
    found: GatewayRow | None = await session.scalar(query if revoked else query.where(GatewayRow.revoked_at.is_(None)))
    return found


async def relay_by_name(session: AsyncSession, name: str, *, revoked: bool = False) -> RelayRow | None:
    """The relay of that name; with `revoked`, the last one that bore it if none does now."""
    query = select(RelayRow).where(RelayRow.name == name)
    query = query.order_by(RelayRow.revoked_at.is_not(None), RelayRow.id.desc()).limit(1)
    found: RelayRow | None = await session.scalar(query if revoked else query.where(RelayRow.revoked_at.is_(None)))
    return found


async def embedded_relay(session: AsyncSession, address: str | None) -> RelayRow | None:
    """The relay of `server run`, if it has not been revoked; of the node that has it at `address`, if that is given."""
    query = select(RelayRow).where(RelayRow.embedded.is_(True), RelayRow.revoked_at.is_(None))
    if address is not None:
        query = query.where(RelayRow.address == address)
    found: RelayRow | None = await session.scalar(query.limit(1))
    return found


async def gateways(session: AsyncSession, project_id: str, after: str | None, limit: int) -> Sequence[GatewayRow]:
    """A project's gateways by id."""
    query = select(GatewayRow).where(GatewayRow.project_id == project_id).order_by(GatewayRow.id).limit(limit)
    if after is not None:
        query = query.where(GatewayRow.id > after)
    return list(await session.scalars(query))


async def relays(session: AsyncSession, after: str | None, limit: int) -> Sequence[RelayRow]:
    """Relays by id."""
    query = select(RelayRow).order_by(RelayRow.id).limit(limit)
    if after is not None:
        query = query.where(RelayRow.id > after)
    return list(await session.scalars(query))


async def usable_relays(session: AsyncSession, since: datetime) -> Sequence[RelayRow]:
    """Relays that were seen since then and may be used."""
    query = select(RelayRow).where(
        RelayRow.last_seen_at > since, RelayRow.revoked_at.is_(None), RelayRow.address.is_not(None)
    )
    return list(await session.scalars(query.order_by(RelayRow.id)))


async def revoked_gateways(session: AsyncSession, now: datetime) -> list[str]:
    """Ids of gateways that no relay may let in, as long as they hold a certificate."""
    holding = select(InstanceRow.gateway_id).where(InstanceRow.certificate_expires_at > now)
    query = select(GatewayRow.id).where(GatewayRow.revoked_at.is_not(None), GatewayRow.id.in_(holding))
    return list(await session.scalars(query.order_by(GatewayRow.id)))


async def revoked_keys(session: AsyncSession, now: datetime) -> list[bytes]:
    """The keys of single instances that no relay may let in, as long as they hold a certificate."""
    query = select(InstanceRow.public_key).where(
        InstanceRow.revoked_at.is_not(None), InstanceRow.certificate_expires_at > now
    )
    return [key for key in await session.scalars(query.order_by(InstanceRow.id)) if key is not None]


async def use_token(session: AsyncSession, token_id: str, now: datetime) -> bool:
    """Mark a token as used; False if somebody was first or it has expired. One statement, so that it can't be both."""
    result = await session.execute(
        update(EnrolmentTokenRow)
        .where(
            EnrolmentTokenRow.id == token_id, EnrolmentTokenRow.used_at.is_(None), EnrolmentTokenRow.expires_at > now
        )
        .values(used_at=now)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


async def void_tokens(session: AsyncSession, machine_id: str, now: datetime) -> None:
    """Make every unused token of a machine useless."""
    await session.execute(
        update(EnrolmentTokenRow)
        .where(EnrolmentTokenRow.machine_id == machine_id, EnrolmentTokenRow.used_at.is_(None))
        .values(used_at=now)
    )


async def use_assertion(session: AsyncSession, key: str, until: datetime) -> bool:
    """Note a signed request; False if it was used before. One statement on PostgreSQL, where nodes may race."""
    statement = upsert(AssertionRow).values(key=key, until=until).on_conflict_do_nothing()
    return (await session.execute(statement.returning(AssertionRow.key))).first() is not None


async def forget_assertions(session: AsyncSession, now: datetime) -> None:
    """Delete what is too old to be accepted anyway."""
    await session.execute(delete(AssertionRow).where(AssertionRow.until < now))


async def note_links(session: AsyncSession, node: str, instance_ids: Iterable[str], until: datetime) -> None:
    """These instances are linked to the node, and no others."""
    held = list(instance_ids)
    for statement in (
        update(InstanceRow).where(InstanceRow.link_node == node, InstanceRow.id.not_in(held)).values(linked_until=None),
        update(InstanceRow).where(InstanceRow.id.in_(held)).values(link_node=node, linked_until=until),
    ):
        await session.execute(statement.execution_options(synchronize_session=False))


async def gateways_like(session: AsyncSession, project_id: str, text: str) -> list[str]:
    """The ids of a project's gateways whose name has `text` in it."""
    found = GatewayRow.name.contains(text.lower(), autoescape=True)
    return list(await session.scalars(select(GatewayRow.id).where(GatewayRow.project_id == project_id, found)))
