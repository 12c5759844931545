"""What nodes share, on PostgreSQL only: an embedded database has one node, and these tables stay empty."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


class NodeRow(Base):
    """A node that runs, or ran. `master_keys` are the ids of those that it can open with."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    version: Mapped[str]
    master_keys: Mapped[list[Any]]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class SignalRow(Base):
    """Something that one node tells the others. Ids grow in the order of commits, because whoever writes here has the
    writers' lock: a reader that goes on behind the last id it saw misses none."""

    __tablename__ = "node_signals"
    __table_args__ = (Index(None, "sent_at"),)

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    )
    node: Mapped[str]
    topic: Mapped[str]
    key: Mapped[str]
    body: Mapped[dict[str, Any]]
    sent_at: Mapped[datetime]


class JobLeaseRow(Base):
    """Which node does a job. Times are the database's own: nodes' clocks need not agree."""

    __tablename__ = "job_leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str]
    until: Mapped[datetime]
