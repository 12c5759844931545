"""What people ask of records and get: keys, exports, searches.

The record of a command itself (`Record`) and the answer of a verification stand in `models`, beside the session that
they belong to.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field


class AuditKey(BaseModel):
    """A key that signs, or has signed, the heads of chains. It is public: bundles are checked with it."""

    id: str
    certificate: str = Field(description="PEM; wardgate's root certified the key for this purpose alone.")
    current: bool = Field(description="Whether new seals are made with it.")


class ExportFormat(StrEnum):
    """The forms of an export."""

    BUNDLE = "bundle"
    CSV = "csv"
    JSONL = "jsonl"
    MONGOSH = "mongosh"
