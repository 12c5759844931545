"""Tables of multi-factor authentication. A TOTP secret is sealed; codes are there as hashes only."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ...api.mfa import MfaKind
from ..db import Base
from ..db.base import enum_column_type


class MfaMethodRow(Base):
    """A second factor of one user. It counts from `confirmed_at` on; `last_step` is that of the newest code used."""

    __tablename__ = "mfa_methods"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[MfaKind] = mapped_column(enum_column_type(MfaKind))
    sealed_secret: Mapped[bytes]
    last_step: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class RecoveryCodeRow(Base):
    """A code that stands in for a lost device, once. It is 80 random bits, so a plain hash can't be searched."""

    __tablename__ = "mfa_recovery_codes"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class MfaChallengeRow(Base):
    """One question. `binding` is what a right answer is good for (`service.binding_of`); `sign_in_id` is null where it
    was asked in the course of a login."""

    __tablename__ = "mfa_challenges"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    sign_in_id: Mapped[str | None]
    kind: Mapped[MfaKind] = mapped_column(enum_column_type(MfaKind))
    binding: Mapped[bytes]
    code_hash: Mapped[bytes | None]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    verified_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class MfaPolicyRow(Base):
    """The organisation's rule; there is one row at most (`id` 1), none means the defaults."""

    __tablename__ = "mfa_policy"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    enforced: Mapped[MfaKind | None] = mapped_column(enum_column_type(MfaKind))
    at_sign_in: Mapped[bool]
