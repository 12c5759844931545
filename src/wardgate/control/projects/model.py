"""The table of projects."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ..db import Base


class ProjectRow(Base):
    """A team's space."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class MaskingRuleRow(Base):
    """What a project's records do not show (`masking`). `kind`: path or pattern."""

    __tablename__ = "masking_rules"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    expression: Mapped[str]
    description: Mapped[str]
    created_at: Mapped[datetime]


class ProjectRecordsRow(Base):
    """How a project's records are made and kept, where somebody has said so (`keeping`)."""

    __tablename__ = "project_records"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    durability: Mapped[str]
    retention_days: Mapped[int | None]
    legal_hold: Mapped[bool]
