"""Sessions, their history, and the epochs under which gateways served them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, false
from sqlalchemy.orm import Mapped, mapped_column

from ...api.models import EndReason, SessionStatus, VerificationState
from ..db import Base
from ..db.base import enum_column_type


class SessionRow(Base):
    """One session as it is now. Names are kept beside ids: a record must stay readable when what it names is gone."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_project_id_id", "project_id", "id"),
        Index("ix_sessions_status", "status"),
        Index("ix_sessions_gateway_id_status", "gateway_id", "status"),
        Index("ix_sessions_project_id_created_at", "project_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    resource_id: Mapped[str]
    resource: Mapped[str]
    account_id: Mapped[str]
    account: Mapped[str]
    user_id: Mapped[str]  # or the id of a service, and its name
    user: Mapped[str]
    address: Mapped[str | None] = mapped_column(default=None)  # where it was asked for from
    gateway_id: Mapped[str]
    gateway: Mapped[str]
    reason: Mapped[str | None]
    sign_in_id: Mapped[str | None] = mapped_column(
        default=None
    )  # the login that it was opened with; of a service, its secret or trust
    grant_id: Mapped[str | None] = mapped_column(default=None)  # the approved request that it stands on
    mfa: Mapped[bool] = mapped_column(default=False, server_default=false())  # a second factor was shown for it
    client: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    status: Mapped[SessionStatus] = mapped_column(enum_column_type(SessionStatus), default=SessionStatus.STARTING)
    started_at: Mapped[datetime | None] = mapped_column(default=None)
    ended_at: Mapped[datetime | None] = mapped_column(default=None)
    end_reason: Mapped[EndReason | None] = mapped_column(enum_column_type(EndReason), default=None)
    end_message: Mapped[str | None] = mapped_column(default=None)
    # Somebody wants it ended and its gateway has not done so yet.
    wanted_end: Mapped[EndReason | None] = mapped_column(enum_column_type(EndReason), default=None)
    wanted_message: Mapped[str | None] = mapped_column(default=None)
    epoch: Mapped[int] = mapped_column(default=0)
    instance_id: Mapped[str | None] = mapped_column(default=None)  # who has the newest epoch
    renew_by: Mapped[datetime | None] = mapped_column(default=None)
    linked: Mapped[bool] = mapped_column(default=True)  # whether its gateway's last heartbeat listed it
    # What MongoDB clients may log in with at the local proxy; with local_auth they must. Wiped at the end.
    local_auth: Mapped[bool] = mapped_column(default=False, server_default=false())
    sealed_local_password: Mapped[bytes | None] = mapped_column(default=None)
    # Kept by the records of the session as they arrive.
    commands: Mapped[int] = mapped_column(default=0)
    errors: Mapped[int] = mapped_column(default=0)
    documents_read: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    documents_changed: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    verification: Mapped[VerificationState] = mapped_column(
        enum_column_type(VerificationState), default=VerificationState.OPEN
    )


class TransitionRow(Base):
    """One step of a session's history; rows are added and never changed."""

    __tablename__ = "session_transitions"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    status: Mapped[SessionStatus] = mapped_column(enum_column_type(SessionStatus))
    end_reason: Mapped[EndReason | None] = mapped_column(enum_column_type(EndReason))
    message: Mapped[str | None]
    actor: Mapped[str]


class EpochRow(Base):
    """Which instance of which gateway holds, or held, which epoch of a session.

    Null: it was leased before gateways had instances.
    """

    __tablename__ = "session_epochs"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    gateway_id: Mapped[str]
    instance_id: Mapped[str | None] = mapped_column(default=None)
    leased_at: Mapped[datetime]
