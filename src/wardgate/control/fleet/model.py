"""Gateways, relays, and the tokens by which they join."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


def _unique_in_use(table: str, *columns: str) -> Index:
    """No two that are in use have the same name; one that was revoked leaves its name to a successor."""
    in_use = text("revoked_at IS NULL")
    return Index(f"uq_{table}_in_use", *columns, unique=True, sqlite_where=in_use, postgresql_where=in_use)


class Machine:
    """What gateways' instances and relays have in common. `public_key` (DER) is null until the machine has enrolled."""

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    public_key: Mapped[bytes | None] = mapped_column(default=None)
    enrolled_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    certificate_expires_at: Mapped[datetime | None] = mapped_column(default=None)
    last_seen_at: Mapped[datetime | None] = mapped_column(default=None)
    version: Mapped[str | None] = mapped_column(default=None)


class GatewayRow(Base):
    """A gateway of a project: a name, for whatever instances have enrolled under it."""

    __tablename__ = "gateways"
    __table_args__ = (_unique_in_use("gateways", "project_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)


class InstanceRow(Machine, Base):
    """One instance of a gateway. `advertise` is the address of its direct route, `host` what it calls its machine,
    `carried` the number of sessions that its last heartbeat listed. Where there are several nodes, its link ends
    at `link_node`, which says so again before `linked_until`."""

    __tablename__ = "gateway_instances"

    gateway_id: Mapped[str] = mapped_column(ForeignKey("gateways.id"), index=True)
    advertise: Mapped[str | None] = mapped_column(default=None)
    host: Mapped[str] = mapped_column(default="")
    carried: Mapped[int] = mapped_column(default=0, server_default="0")
    link_node: Mapped[str | None] = mapped_column(default=None)
    linked_until: Mapped[datetime | None] = mapped_column(default=None)


class RelayRow(Machine, Base):
    """A relay of the organisation. `connected` lists the gateways that its last heartbeat named."""

    __tablename__ = "relays"

    __table_args__ = (_unique_in_use("relays", "name"),)

    name: Mapped[str]
    embedded: Mapped[bool] = mapped_column(default=False)
    address: Mapped[str | None] = mapped_column(default=None)
    sealed_key: Mapped[bytes | None] = mapped_column(default=None)
    connected: Mapped[list[Any]] = mapped_column(default=list)


class EnrolmentTokenRow(Base):
    """A token that was issued. Its secret is sealed, since an HMAC has to be computed with it; it works once."""

    __tablename__ = "enrolment_tokens"

    id: Mapped[str] = mapped_column(primary_key=True)
    machine_id: Mapped[str]
    sealed_secret: Mapped[bytes]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None] = mapped_column(default=None)


class AssertionRow(Base):
    """A signed request that was accepted: by any node once. Kept until it is too old to be accepted anyway."""

    __tablename__ = "used_assertions"
    __table_args__ = (Index(None, "until"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[datetime]


class ConnectionTestRow(Base):
    """A connection test that somebody waits for. Deleted by whoever waited; the sealed credentials go with it."""

    __tablename__ = "connection_tests"

    id: Mapped[str] = mapped_column(primary_key=True)
    gateway_id: Mapped[str] = mapped_column(index=True)
    instance_id: Mapped[str | None]
    order: Mapped[dict[str, Any]]
    sealed_credentials: Mapped[bytes | None]
    handed: Mapped[list[Any]]  # instances that have the credentials
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    expires_at: Mapped[datetime]
