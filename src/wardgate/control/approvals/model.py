"""The table of access requests. Names are kept beside ids: a request must stay readable when what it names is gone."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from ...api.approvals import RequestStatus
from ..db import Base
from ..db.base import enum_column_type


class AccessRequestRow(Base):
    """One wish; approved, it is a grant until `until`."""

    __tablename__ = "access_requests"
    __table_args__ = (
        Index(None, "project_id", "id"),
        Index(None, "user_id", "account_id", "status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    resource_id: Mapped[str]
    resource: Mapped[str]
    account_id: Mapped[str]
    account: Mapped[str]
    user_id: Mapped[str]
    user: Mapped[str]
    reason: Mapped[str]
    duration_s: Mapped[int]
    window_s: Mapped[int]
    status: Mapped[RequestStatus] = mapped_column(enum_column_type(RequestStatus))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_at: Mapped[datetime | None] = mapped_column(default=None)
    decided_by: Mapped[str | None] = mapped_column(default=None)
    note: Mapped[str] = mapped_column(default="")
    until: Mapped[datetime | None] = mapped_column(default=None)
