"""Tables of multi-factor authentication. A TOTP secret is sealed; codes are there as hashes only; of a passkey there is
the public half, which is no secret."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from ...api.mfa import MfaKind
from ..db import Base
from ..db.base import enum_column_type


class Purpose(StrEnum):
    """What a challenge was asked for, which decides who may be asked for what."""

    ACCESS = "access"
    CHANGE = "change"
    SIGN_IN = "sign_in"


class MfaMethodRow(Base):
    """An authenticator app of one user. It counts from `confirmed_at` on; `last_step` is that of the newest code."""

    __tablename__ = "mfa_methods"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[MfaKind] = mapped_column(enum_column_type(MfaKind))
    sealed_secret: Mapped[bytes]
    last_step: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class PasskeyRow(Base):
    """A passkey of one user. `credential` is its id and public key, `counter` the highest that it has shown.

    It is good for the host name `rp_id` only; after a change of the public URL it is there, but counts for nothing.
    """

    __tablename__ = "passkeys"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    rp_id: Mapped[str]
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    credential: Mapped[bytes]
    counter: Mapped[int] = mapped_column(BigInteger)
    synced: Mapped[bool]
    transports: Mapped[list[Any]]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    clone_suspected_at: Mapped[datetime | None]


class PasskeyQuestionRow(Base):
    """A question that is no challenge yet: to make a passkey (`user_id` and `sign_in_id` are set), or to sign in with
    one (nobody knows who that will be). It is deleted by the first answer, right or wrong."""

    __tablename__ = "passkey_questions"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    sign_in_id: Mapped[str | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class RecoveryCodeRow(Base):
    """A code that stands in for a lost device, once. It is 80 random bits, so a plain hash can't be searched."""

    __tablename__ = "mfa_recovery_codes"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class MfaChallengeRow(Base):
    """One question. `binding` is what a right answer is good for (`service.binding_of`); `sign_in_id` is null where it
    was asked in the course of a login. `kind` is what was asked for, and once answered, what it was answered with;
    `what` and `shown` are what the person who is asked gets to see of it."""

    __tablename__ = "mfa_challenges"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    sign_in_id: Mapped[str | None]
    purpose: Mapped[Purpose] = mapped_column(enum_column_type(Purpose), server_default=Purpose.ACCESS.value)
    kind: Mapped[MfaKind] = mapped_column(enum_column_type(MfaKind))
    binding: Mapped[bytes]
    what: Mapped[str] = mapped_column(server_default=text("''"))
    shown: Mapped[dict[str, Any] | None]
    code_hash: Mapped[bytes | None]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    verified_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class MfaPolicyRow(Base):
    """The organisation's rule; there is one row at most (`id` 1), none means the defaults."""

    __tablename__ = "mfa_policy"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    enforced: Mapped[MfaKind | None] = mapped_column(enum_column_type(MfaKind))
    at_sign_in: Mapped[bool]
    user_verification: Mapped[bool] = mapped_column(server_default=false())
