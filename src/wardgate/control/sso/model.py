"""Tables of single sign-on. The client secret is sealed; of an attempt only hashes are kept."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, false
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


class SsoProviderRow(Base):
    """A provider. `scopes` are separated by blanks; `lifetime_s` null: no end of its own."""

    __tablename__ = "sso_providers"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    label: Mapped[str]
    issuer: Mapped[str]
    client_id: Mapped[str]
    sealed_client_secret: Mapped[bytes | None]
    scopes: Mapped[str]
    groups_claim: Mapped[str]
    create_users: Mapped[bool]
    trust_mfa: Mapped[bool]
    lifetime_s: Mapped[int | None]
    enabled: Mapped[bool]
    created_at: Mapped[datetime]


class SsoDomainRow(Base):
    """Whose addresses a provider vouches for; no two vouch for the same."""

    __tablename__ = "sso_domains"

    domain: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("sso_providers.id", ondelete="CASCADE"), index=True)


class SsoMappingRow(Base):
    """A value of the groups claim and a group here. The group is no foreign key: one that is gone maps to nothing."""

    __tablename__ = "sso_mappings"

    provider_id: Mapped[str] = mapped_column(ForeignKey("sso_providers.id", ondelete="CASCADE"), primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(primary_key=True)


class SsoIdentityRow(Base):
    """Who somebody is at an issuer: `subject` is theirs for ever there, an e-mail address is not."""

    __tablename__ = "sso_identities"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]


class SsoAttemptRow(Base):
    """One way to a provider and back, by the hash of its `state`, and bound to the browser by that of its cookie."""

    __tablename__ = "sso_attempts"

    state_hash: Mapped[bytes] = mapped_column(primary_key=True)
    cookie_hash: Mapped[bytes]
    provider_id: Mapped[str] = mapped_column(ForeignKey("sso_providers.id", ondelete="CASCADE"), index=True)
    wanted: Mapped[str]
    anew: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class SsoPolicyRow(Base):
    """The organisation's rule; there is one row at most (`id` 1), none means the defaults."""

    __tablename__ = "sso_policy"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    passwords_off: Mapped[bool]
