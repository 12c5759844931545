"""The tables of resources and accounts. A password is there sealed or not at all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


class ResourceRow(Base):
    """A guarded deployment, as its form was filled in. The string holds no secret: credentials in it are refused."""

    __tablename__ = "resources"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    gateway_id: Mapped[str] = mapped_column(ForeignKey("gateways.id"), index=True)
    connection_string: Mapped[str]
    database: Mapped[str]
    ssl: Mapped[bool]
    reject_unauthorized: Mapped[bool]
    ca_certificate: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    tested_at: Mapped[datetime | None]
    test: Mapped[dict[str, Any] | None]


class AccountRow(Base):
    """One MongoDB user. What of the sealed fields must be there, its mechanism says (`mechanisms.NEEDS`).

    `username` of an account with MONGODB-X509 is its certificate's subject, for people to read.
    """

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("resource_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    resource_id: Mapped[str] = mapped_column(ForeignKey("resources.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str]
    mechanism: Mapped[str] = mapped_column(server_default="auto")
    username: Mapped[str]
    sealed_password: Mapped[bytes | None]
    sealed_client_certificate: Mapped[bytes | None]
    certificate_expires_at: Mapped[datetime | None]
    require_mfa: Mapped[bool]
    require_reason: Mapped[bool]
    require_approval: Mapped[bool] = mapped_column(default=False, server_default=false())
    allow_admin: Mapped[bool]
    max_duration_s: Mapped[int | None]
    idle_timeout_s: Mapped[int | None] = mapped_column(default=1_800, server_default=text("1800"))
    max_sessions: Mapped[int | None] = mapped_column(default=None)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    tested_at: Mapped[datetime | None]
    test: Mapped[dict[str, Any] | None]
