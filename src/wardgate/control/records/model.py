"""The tables of records. Bodies are not in them: they stay in the objects, encrypted as they came.

No foreign key leads to the session: records outlive whatever else is said of it, and nothing here is ever deleted by
another feature.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


class RecordEpochRow(Base):
    """How far one epoch has come. `seq` and `hash` are of the last frame that is durable; -1 while there is none."""

    __tablename__ = "record_epochs"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    gateway_id: Mapped[str]
    audit_key_id: Mapped[str]
    sealed_key: Mapped[bytes]
    head_hash: Mapped[bytes]
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    # The gateway said that it is all: by the session's closing record, or by a tail.
    closed: Mapped[bool] = mapped_column(default=False)
    sealed_seq: Mapped[int] = mapped_column(BigInteger, default=-1)
    sealed_at: Mapped[datetime | None] = mapped_column(default=None)
    # What arrived and could not be true: from then on nothing more is taken for this epoch.
    alarm: Mapped[str | None] = mapped_column(default=None)
    alarm_seq: Mapped[int | None] = mapped_column(BigInteger, default=None)
    alarm_detail: Mapped[str | None] = mapped_column(default=None)


class RecordBatchRow(Base):
    """One stored object: the frames `first_seq` to `last_seq` of an epoch, in order."""

    __tablename__ = "record_batches"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    first_seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    last_seq: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    size: Mapped[int]
    stored_at: Mapped[datetime]


class RecordRow(Base):
    """One line of a session's log; a command's outcome is merged into it."""

    __tablename__ = "records"
    __table_args__ = (Index("ix_records_database_collection_at", "database", "collection", "at"),)

    session_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    connection: Mapped[int | None] = mapped_column(BigInteger)
    database: Mapped[str | None]
    collection: Mapped[str | None]
    command: Mapped[str | None]
    effect: Mapped[str | None]
    ok: Mapped[float | None]
    code: Mapped[int | None] = mapped_column(BigInteger)
    rule: Mapped[str | None]
    documents: Mapped[int | None] = mapped_column(BigInteger)
    bytes_in: Mapped[int | None] = mapped_column(BigInteger)
    bytes_out: Mapped[int | None] = mapped_column(BigInteger)
    duration_us: Mapped[int | None] = mapped_column(BigInteger)
    client_app: Mapped[str | None]
    unacknowledged: Mapped[bool | None]
    error: Mapped[str | None]
    event: Mapped[str | None]
    details: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class RecordSealRow(Base):
    """The control plane's word on the heads of a session's chains at one moment; rows are added and never changed."""

    __tablename__ = "record_seals"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    final: Mapped[bool]
    statement: Mapped[bytes]
    key_id: Mapped[str]
    signature: Mapped[bytes]
    sealed_at: Mapped[datetime]
