"""The database: one writer, many readers, and the types its columns have."""

from .base import Base, UtcDateTime, enum_column_type
from .engine import Database

__all__ = ["Base", "Database", "UtcDateTime", "enum_column_type"]
