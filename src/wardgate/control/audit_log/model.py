"""The table of events. Rows are inserted, never updated, never deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base

_SEQ = BigInteger().with_variant(Integer, "sqlite")


class AuditEvent(Base):
    """One event. `hash` is over every other column and over the hash of the row before (`log.digest`).

    `client` is what the program that asked calls itself; nothing vouches for it.
    """

    __tablename__ = "audit_events"

    seq: Mapped[int] = mapped_column(_SEQ, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(index=True)
    event: Mapped[str]
    actor_id: Mapped[str | None] = mapped_column(index=True)
    actor: Mapped[str]
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    client: Mapped[str | None] = mapped_column(default=None)
    target: Mapped[str | None] = mapped_column(index=True)
    project_id: Mapped[str | None] = mapped_column(index=True)
    details: Mapped[dict[str, Any]]
    previous: Mapped[bytes]
    hash: Mapped[bytes]
