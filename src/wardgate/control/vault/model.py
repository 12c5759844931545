"""Tables of the vault. Every key column is sealed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


class VaultKeyRow(Base):
    """A key that seals the secrets of one project, sealed by the master key; `scope` is the project's id or
    `organisation`."""

    __tablename__ = "vault_keys"
    __table_args__ = (
        # One key in use per scope; older ones stay to open what they sealed.
        Index(
            "uq_vault_keys_in_use",
            "scope",
            unique=True,
            sqlite_where=text("retired_at IS NULL"),
            postgresql_where=text("retired_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str]
    master_key_id: Mapped[str]
    sealed: Mapped[bytes]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class MasterKeyRow(Base):
    """A master key that was made the one that seals; the newest row names the one that does now. Without a row it is
    the one that the first keys were sealed by. `finished_at` is when nothing was sealed by an older one any more."""

    __tablename__ = "master_keys"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key_id: Mapped[str]
    begun_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class AuthorityRow(Base):
    """One certificate authority: the root or an intermediate."""

    __tablename__ = "authorities"

    name: Mapped[str] = mapped_column(primary_key=True)
    certificate: Mapped[bytes]
    sealed_key: Mapped[bytes]
    created_at: Mapped[datetime]


class AuditKeyRow(Base):
    """A key of the audit trail: one that epochs are sealed to, or one that heads are signed with."""

    __tablename__ = "audit_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    purpose: Mapped[str]
    public_key: Mapped[bytes]
    certificate: Mapped[bytes | None]
    sealed_key: Mapped[bytes]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
