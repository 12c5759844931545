"""The tables of streams: what was set, how far each has come."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ...api.streams import StreamKind
from ..db import Base
from ..db.base import enum_column_type

SEALS = 0  # in the place of an epoch, whose numbers begin at 1


class StreamRow(Base):
    """One stream. `scope` is the project's id or `organisation`, since null differs from null in a unique constraint.

    Everything up to `event_seq` of the audit log has been taken by the receiver. `holder` is the process that delivers,
    until `held_until`: one at a time, so that order holds among several control planes.
    """

    __tablename__ = "streams"
    __table_args__ = (UniqueConstraint("scope", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str]
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    kind: Mapped[StreamKind] = mapped_column(enum_column_type(StreamKind))
    url: Mapped[str]
    commands: Mapped[bool]
    events: Mapped[bool]
    bodies: Mapped[bool]
    paused: Mapped[bool] = mapped_column(default=False)
    ca_certificate: Mapped[str | None]
    header_names: Mapped[list[Any]]
    # JSON of the signing key and the headers, sealed in the vault.
    sealed: Mapped[bytes]
    # Counts changes: who prepared a delivery before one sees that it is not the same stream any more.
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    event_seq: Mapped[int] = mapped_column(BigInteger)
    sent: Mapped[int] = mapped_column(BigInteger, default=0)
    sent_at: Mapped[datetime | None] = mapped_column(default=None)
    failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None] = mapped_column(default=None)
    last_error: Mapped[str | None] = mapped_column(default=None)
    last_error_at: Mapped[datetime | None] = mapped_column(default=None)
    next_try_at: Mapped[datetime | None] = mapped_column(default=None)
    holder: Mapped[str | None] = mapped_column(default=None)
    held_until: Mapped[datetime | None] = mapped_column(default=None)


class StreamPositionRow(Base):
    """How far a stream has come in one epoch of a session; in the place of epoch 0, in the session's seals by number.

    A row is there from the first thing that arrives until the end of the epoch has been sent. `waiting`: there may be
    something unsent, since `since`. `pending` are the sequence numbers (with commas between) of commands that were sent
    while they ran: their outcomes are sent when they come.
    """

    __tablename__ = "stream_positions"
    __table_args__ = (Index("ix_stream_positions_waiting", "stream_id", "waiting", "since"),)

    stream_id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    session_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    pending: Mapped[str]
    waiting: Mapped[bool]
    since: Mapped[datetime]
