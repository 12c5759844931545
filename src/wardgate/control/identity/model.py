"""Tables of identity. No token and no password is in them, only hashes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base, enum_column_type
from .permissions import Role


class TokenKind(StrEnum):
    """Access tokens open the API; a refresh token opens the next pair, once."""

    ACCESS = "access"
    REFRESH = "refresh"


class UserRow(Base):
    """A person. `email` is lower-case."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class SignInRow(Base):
    """One login on one device; its tokens live and die with it."""

    __tablename__ = "sign_ins"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    refreshed_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    address: Mapped[str | None]


class TokenRow(Base):
    """A token by its SHA-256. It is 256 random bits, so a plain hash can't be searched."""

    __tablename__ = "tokens"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    kind: Mapped[TokenKind] = mapped_column(enum_column_type(TokenKind))
    sign_in_id: Mapped[str] = mapped_column(ForeignKey("sign_ins.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class RoleBindingRow(Base):
    """One role at one place; the columns that are NULL widen it (`actor.Scope`).

    The places are not foreign keys: ids are never used twice, so a binding to what is gone permits nothing.
    """

    __tablename__ = "role_bindings"
    __table_args__ = (Index(None, "project_id", "resource_id", "account_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[Role] = mapped_column(enum_column_type(Role))
    project_id: Mapped[str | None]
    resource_id: Mapped[str | None]
    account_id: Mapped[str | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]
    expires_at: Mapped[datetime | None]
