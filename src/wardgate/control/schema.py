"""All tables of all features in one metadata, for whoever compares or creates them all."""

from __future__ import annotations

from sqlalchemy import MetaData

from . import services as _services  # imports every feature's model
from .db import Base

assert _services


def metadata() -> MetaData:
    """The schema of this version."""
    return Base.metadata
