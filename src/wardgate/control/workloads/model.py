"""Tables of what services prove themselves with. Secrets and tokens are there as hashes only.

A token falls with the secret or the trust that it was given for, and both fall with their service.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


class ServiceSecretRow(Base):
    """A client secret by its SHA-256; it is 256 random bits, so a plain hash can't be searched."""

    __tablename__ = "service_secrets"

    id: Mapped[str] = mapped_column(primary_key=True)
    service_id: Mapped[str] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"), index=True)
    hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class TrustRow(Base):
    """An issuer whose tokens for `audience` are the service's, where they meet every condition."""

    __tablename__ = "service_trusts"

    id: Mapped[str] = mapped_column(primary_key=True)
    service_id: Mapped[str] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"), index=True)
    issuer: Mapped[str]
    audience: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]
    used_at: Mapped[datetime | None]


class ConditionRow(Base):
    """What one claim must be (`conditions.Pattern`)."""

    __tablename__ = "service_trust_conditions"

    trust_id: Mapped[str] = mapped_column(ForeignKey("service_trusts.id", ondelete="CASCADE"), primary_key=True)
    claim: Mapped[str] = mapped_column(primary_key=True)
    pattern: Mapped[str]


class ServiceTokenRow(Base):
    """A token by its SHA-256. `scopes` as in `ServiceRow`: both bound what it is good for."""

    __tablename__ = "service_tokens"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    service_id: Mapped[str] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"), index=True)
    secret_id: Mapped[str | None] = mapped_column(ForeignKey("service_secrets.id", ondelete="CASCADE"), index=True)
    trust_id: Mapped[str | None] = mapped_column(ForeignKey("service_trusts.id", ondelete="CASCADE"), index=True)
    scopes: Mapped[str]
    address: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SpentTokenRow(Base):
    """A workload token that was exchanged, until it would have ended anyway: it is never taken twice."""

    __tablename__ = "service_spent_tokens"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
