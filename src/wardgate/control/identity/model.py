"""Tables of identity. No token and no password is in them, only hashes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base, enum_column_type
from . import holders as _holders  # the tables that bindings point to
from .actor import Scope
from .permissions import Role

assert _holders


class TokenKind(StrEnum):
    """Access tokens open the API; a refresh token opens the next pair, once; a browser's token opens the pages only."""

    ACCESS = "access"
    BROWSER = "browser"
    REFRESH = "refresh"


class DeviceKind(StrEnum):
    """What is signed in."""

    BROWSER = "browser"
    COMMAND_LINE = "command_line"


class Method(StrEnum):
    """How somebody showed who they are."""

    PASSKEY = "passkey"
    PASSWORD = "password"  # noqa: S105 - the name of a method
    SSO = "sso"


class UserRow(Base):
    """A person. `email` is lower-case."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class SignInRow(Base):
    """One login on one device; its tokens live and die with it.

    `method` is how the person showed who they are; where they did it at another device, which let this one in,
    `approved_by` is that one's sign-in. `used_at` and `used_address` are true to a minute. `proof_ends_at` is
    how long that way of showing it counts at most, for this sign-in and those that it approves; nothing outlives
    `ends_at`. Null: as long as it is refreshed.
    """

    __tablename__ = "sign_ins"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    refreshed_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    address: Mapped[str | None]
    kind: Mapped[DeviceKind] = mapped_column(enum_column_type(DeviceKind), server_default=DeviceKind.COMMAND_LINE.value)
    name: Mapped[str] = mapped_column(server_default=text("''"))
    method: Mapped[Method] = mapped_column(enum_column_type(Method), server_default=Method.PASSWORD.value)
    second_factor: Mapped[bool] = mapped_column(server_default=false())
    approved_by: Mapped[str | None]
    used_at: Mapped[datetime | None]
    used_address: Mapped[str | None]
    proof_ends_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]


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
    """One role of one holder (exactly one of the first three columns) at one place; the columns of the place that are
    NULL widen it (`actor.Scope`).

    The places are not foreign keys: ids are never used twice, so a binding to what is gone permits nothing.
    """

    __tablename__ = "role_bindings"
    __table_args__ = (Index(None, "project_id", "resource_id", "account_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), index=True)
    service_id: Mapped[str | None] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"), index=True)
    role: Mapped[Role] = mapped_column(enum_column_type(Role))
    project_id: Mapped[str | None]
    resource_id: Mapped[str | None]
    account_id: Mapped[str | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]
    expires_at: Mapped[datetime | None]

    @property
    def holder_id(self) -> str:
        """Who holds it."""
        holder = self.user_id or self.group_id or self.service_id
        assert holder is not None
        return holder

    @property
    def scope(self) -> Scope:
        """Where it is."""
        return Scope(self.project_id, self.resource_id, self.account_id)
