"""The table of devices that wait to be let in. What opens anything is in it as a hash only."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base, enum_column_type


class Flow(StrEnum):
    """How the device learns that it was let in: its own browser brings a code, or it asks again and again."""

    BROWSER = "browser"
    CODE = "code"


class Status(StrEnum):
    """`waiting → approved → used`, or `waiting → denied`; `burnt` is an approval that was tried in a wrong way."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    BURNT = "burnt"


class DeviceRequestRow(Base):
    """One device that asks.

    `secret_hash` is of the device code, or of the one-time code once there is one. `user_code` is what a person types:
    it names the request and opens nothing. `sign_in_id` is what came of it.
    """

    __tablename__ = "device_requests"

    id: Mapped[str] = mapped_column(primary_key=True)
    flow: Mapped[Flow] = mapped_column(enum_column_type(Flow))
    status: Mapped[Status] = mapped_column(enum_column_type(Status))
    secret_hash: Mapped[bytes | None] = mapped_column(unique=True)
    user_code: Mapped[str | None] = mapped_column(unique=True)
    challenge: Mapped[str | None]
    redirect_uri: Mapped[str | None]
    state: Mapped[str | None]
    name: Mapped[str]
    address: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    interval_s: Mapped[int]
    polled_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    user_id: Mapped[str | None]
    approved_by: Mapped[str | None]
    sign_in_id: Mapped[str | None]
