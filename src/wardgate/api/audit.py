"""What people ask of records and get: keys, exports, searches.

The record of a command itself (`Record`) and the answer of a verification stand in `models`, beside the session that
they belong to.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from .models import Record, Request


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


class RecordQuery(Request):
    """What is looked for in the records of all sessions; what is left out is any."""

    project_id: str | None = Field(default=None, max_length=64)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    user: str | None = Field(default=None, max_length=254, description="E-mail address or id.")
    resource: str | None = Field(default=None, max_length=64, description="Name or id.")
    account: str | None = Field(default=None, max_length=64, description="Name or id.")
    session_id: str | None = Field(default=None, max_length=64)
    kind: Literal["command", "denied", "connection", "session"] | None = None
    database: str | None = Field(default=None, max_length=255)
    collection: str | None = Field(default=None, max_length=255, description="With `database`.")
    command: str | None = Field(default=None, max_length=128)
    effect: Literal["read", "write", "admin", "code", "auth"] | None = None
    failed: bool = Field(default=False, description="Only what the database refused, and what wardgate did.")
    code: int | None = Field(default=None, ge=-(2**31), lt=2**31, description="The error's code.")
    min_duration_ms: int | None = Field(default=None, ge=0, le=10**12)
    min_documents: int | None = Field(default=None, ge=0, le=10**15)
    text: str | None = Field(
        default=None, min_length=1, max_length=1024, description="Stands in the body, whatever its case."
    )
    id: str | None = Field(
        default=None, min_length=1, max_length=1024, description="An `_id` that the command names, as Extended JSON."
    )
    bodies: bool = Field(default=False, description="Whether the answer holds bodies.")


class RecordHit(BaseModel):
    """One line that a search found, and whose it is."""

    session_id: str
    project_id: str
    resource: str
    account: str
    user: str
    record: Record


class RecordSettings(BaseModel):
    """How a project's records are made, and how long they are kept."""

    durability: Literal["strict", "process"] = Field(
        default="strict",
        description="strict: on the gateway's disk before a reply ends. process: handed to its kernel; a power cut at "
        "the gateway can lose the newest commands.",
    )
    retention_days: int | None = Field(default=None, description="After a session's end; null: for ever.")
    legal_hold: bool = Field(default=False, description="While it stands, nothing is deleted.")


class RecordSettingsUpdate(Request):
    """Fields to change; those left out stay. `retention_days: null` keeps records for ever."""

    durability: Literal["strict", "process"] = "strict"
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    legal_hold: bool = False


class LogFilter(BaseModel):
    """Which lines of one session's log are meant; what is left out is any."""

    kind: Literal["command", "denied", "connection", "session"] | None = None
    database: str | None = None
    collection: str | None = None
    command: str | None = None
    effect: Literal["read", "write", "admin", "code", "auth"] | None = None
    failed: bool = False


class ClientConnection(BaseModel):
    """One client connection of a session, from its records."""

    number: int
    epoch: int
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    client_app: str | None = None
    driver: str | None = None
    platform: str | None = None
    member: str | None = None
    reason: str | None = Field(default=None, description="Why it ended.")
    commands: int | None = Field(default=None, description="Once it has ended.")
    bytes_in: int | None = None
    bytes_out: int | None = None


class TimelineStep(BaseModel):
    """Some of a session's commands, one after the other."""

    at: datetime = Field(description="Of the first of them.")
    until: datetime = Field(description="Of the last of them.")
    commands: int
    errors: int
    mean_us: float | None = Field(default=None, description="Their mean duration.")
    longest_us: int | None = None


class Timeline(BaseModel):
    """A session's activity: its commands in at most 240 stretches of equally many records."""

    since: datetime | None
    until: datetime | None
    steps: list[TimelineStep]
