"""The table of links by mail. The token in a link is there as a hash only."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base, enum_column_type


class LinkKind(StrEnum):
    """What a link was sent for."""

    INVITATION = "invitation"
    PASSWORD = "password"  # noqa: S105 - the name of a kind


class MailLinkRow(Base):
    """A link that is good until it is used, replaced or over. A user has one at most.

    `stands_on` is a digest of the password hash that the user had when it was sent: once that is another, by whatever
    way, the link opens nothing.
    """

    __tablename__ = "mail_links"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(unique=True)
    kind: Mapped[LinkKind] = mapped_column(enum_column_type(LinkKind))
    stands_on: Mapped[bytes]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None]
    expires_at: Mapped[datetime]
