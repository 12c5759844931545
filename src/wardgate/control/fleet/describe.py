"""Gateways and relays as the API shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...api.models import Gateway, GatewayInstance, Relay
from .model import GatewayRow, InstanceRow, RelayRow

Status = Literal["pending", "online", "offline", "revoked"]


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of instances that no row holds: whether one is online, and how many sessions it carries."""

    online: Callable[[InstanceRow], bool]
    carried: Callable[[InstanceRow], int]


def describe_gateway(row: GatewayRow, instances: Sequence[InstanceRow], presence: Presence) -> Gateway:
    """A gateway with its instances; version and last sight are those of the instance that was seen last."""
    shown = [_describe_instance(row, each, presence) for each in instances]
    seen = [each for each in shown if each.last_seen_at is not None and each.status != "revoked"]
    newest = max(seen, key=lambda each: each.last_seen_at or each.enrolled_at, default=None)
    return Gateway(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        status=_gateway_status(row, shown),
        version=None if newest is None else newest.version,
        created_at=row.created_at,
        last_seen_at=None if newest is None else newest.last_seen_at,
        sessions=sum(each.sessions for each in shown),
        instances=shown,
    )


def _gateway_status(row: GatewayRow, instances: Sequence[GatewayInstance]) -> Status:
    if row.revoked_at is not None:
        return "revoked"
    statuses = {each.status for each in instances}
    if not statuses:
        return "pending"
    return "online" if "online" in statuses else "offline"


def _describe_instance(gateway: GatewayRow, row: InstanceRow, presence: Presence) -> GatewayInstance:
    revoked = row.revoked_at is not None or gateway.revoked_at is not None
    online = not revoked and presence.online(row)
    return GatewayInstance(
        id=row.id,
        status="revoked" if revoked else "online" if online else "offline",
        host=row.host,
        address=row.advertise,
        version=row.version,
        enrolled_at=row.enrolled_at or row.created_at,
        last_seen_at=row.last_seen_at,
        sessions=presence.carried(row) if online else 0,
    )


def describe_relay(row: RelayRow, *, online: bool) -> Relay:
    """A relay."""
    return Relay(
        id=row.id,
        name=row.name,
        status=_relay_status(row, online),
        address=row.address,
        embedded=row.embedded,
        version=row.version,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
    )


def _relay_status(row: RelayRow, online: bool) -> Status:
    if row.revoked_at is not None:
        return "revoked"
    if row.enrolled_at is None:
        return "pending"
    return "online" if online else "offline"
