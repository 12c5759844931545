"""Gateways and relays as the API shows them."""

from __future__ import annotations

from typing import Literal

from ...api.models import Gateway, Relay
from .model import GatewayRow, RelayRow

Status = Literal["pending", "online", "offline", "revoked"]


def describe_gateway(row: GatewayRow, *, online: bool, sessions: int) -> Gateway:
    """A gateway."""
    return Gateway(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        status=_status(row, online),
        version=row.version,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        sessions=sessions,
    )


def describe_relay(row: RelayRow, *, online: bool) -> Relay:
    """A relay."""
    return Relay(
        id=row.id,
        name=row.name,
        status=_status(row, online),
        address=row.address,
        embedded=row.embedded,
        version=row.version,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
    )


def _status(row: GatewayRow | RelayRow, online: bool) -> Status:
    if row.revoked_at is not None:
        return "revoked"
    if row.enrolled_at is None:
        return "pending"
    return "online" if online else "offline"
