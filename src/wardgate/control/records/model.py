"""The tables of records. Bodies are not in them: they stay in the objects, encrypted as they came.

No foreign key leads to the session: records outlive whatever else is said of it, and nothing here is ever deleted by
another feature.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Index, Integer, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base

_DELETING: Final = text("deleting")


class RecordPlaceRow(Base):
    """Who worked where: one row for each user of each account. Records name it by a small number, so that a search by
    person, account, resource or project needs no more than an index of numbers and times. `project` is the number of
    the first place of the same project."""

    __tablename__ = "record_places"
    __table_args__ = (UniqueConstraint("project_id", "resource_id", "account_id", "user_id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    project: Mapped[int]
    project_id: Mapped[str]
    resource_id: Mapped[str]
    account_id: Mapped[str]
    user_id: Mapped[str]
    resource: Mapped[str]
    account: Mapped[str]
    user: Mapped[str]


class RecordEpochRow(Base):
    """How far one epoch has come. `seq` and `hash` are of the last frame that is durable; -1 while there is none."""

    __tablename__ = "record_epochs"
    __table_args__ = (
        Index("ix_record_epochs_deleting", "deleting", sqlite_where=_DELETING, postgresql_where=_DELETING),
    )

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
    # The project's retention took what was recorded; `deleting` while some of it is still there.
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)
    deleting: Mapped[bool] = mapped_column(default=False, server_default=false())


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


# Bounds that the partial indices below are made for; `search` asks with the same words.
SLOW_US: Final = 1_000_000
MANY_DOCUMENTS: Final = 1_000
_FAILED: Final = text("ok = 0")
_SLOW: Final = text(f"duration_us >= {SLOW_US}")
_CONTINUES: Final = text("continues IS NOT NULL")
_MANY: Final = text(f"documents >= {MANY_DOCUMENTS}")


class RecordRow(Base):
    """One line of a session's log; a command's outcome is merged into it. `place` and `project` are numbers of
    `record_places`."""

    __tablename__ = "records"
    __table_args__ = (
        Index("ix_records_place", "place", "at"),
        Index("ix_records_project", "project", "at"),
        Index("ix_records_namespace", "project", "database", "collection", "at"),
        Index("ix_records_command", "project", "command", "at"),
        Index("ix_records_effect", "project", "effect", "at"),
        Index("ix_records_failed", "project", "at", sqlite_where=_FAILED, postgresql_where=_FAILED),
        Index("ix_records_slow", "project", "at", sqlite_where=_SLOW, postgresql_where=_SLOW),
        Index(
            "ix_records_continues",
            "session_id",
            "epoch",
            "continues",
            sqlite_where=_CONTINUES,
            postgresql_where=_CONTINUES,
        ),
        Index("ix_records_many", "project", "at", sqlite_where=_MANY, postgresql_where=_MANY),
    )

    session_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    place: Mapped[int] = mapped_column(server_default="0")
    project: Mapped[int] = mapped_column(server_default="0")
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
    continues: Mapped[int | None] = mapped_column(BigInteger)
    modified: Mapped[int | None] = mapped_column(BigInteger)
    upserted: Mapped[int | None] = mapped_column(BigInteger)
    write_errors: Mapped[int | None]
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
