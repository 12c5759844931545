"""Tables of those who can hold a role beside a user: groups and services; and what a role is held by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ...ids import Kind, is_id
from ..db import Base


class HolderKind(StrEnum):
    """Who a role can be bound to."""

    GROUP = "group"
    SERVICE = "service"
    USER = "user"


_KINDS = {HolderKind.GROUP: Kind.GROUP, HolderKind.SERVICE: Kind.SERVICE, HolderKind.USER: Kind.USER}


@dataclass(frozen=True, slots=True)
class Holder:
    """One who holds a role, or could."""

    kind: HolderKind
    id: str
    name: str


def holder_kind(holder_id: str) -> HolderKind:
    """What kind of holder has that id; ValueError if none has."""
    for kind, prefix in _KINDS.items():
        if is_id(holder_id, prefix):
            return kind
    raise ValueError("not the id of a user, group or service")


class GroupRow(Base):
    """Users who hold roles together."""

    __tablename__ = "groups"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]


class GroupMemberRow(Base):
    """One user in one group. `source` is the provider of single sign-on that says so; empty: somebody did by hand.

    A user can be in a group for several reasons, each of which ends for itself.
    """

    __tablename__ = "group_members"

    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    source: Mapped[str] = mapped_column(primary_key=True, default="")
    added_at: Mapped[datetime]
    added_by: Mapped[str | None]


class ServiceRow(Base):
    """A program that acts for itself. `scopes` (`permissions.ServiceScope`) and `networks` (CIDR; empty: any) are
    separated by spaces."""

    __tablename__ = "services"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(default="")
    scopes: Mapped[str]
    networks: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
