"""Bodies of the API that are about the control plane's own audit log, and about signed-in devices."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from .models import Request


class AuditEntry(BaseModel):
    """One event of the control plane: who did what to what, from where."""

    seq: int
    at: datetime
    event: str
    actor: str = Field(description="An e-mail address, `gateway NAME`, `relay NAME` or `system`.")
    actor_id: str | None = None
    address: str | None = None
    client: str | None = Field(default=None, description="The program that asked, by its own word (User-Agent).")
    target: str | None = Field(default=None, description="Id of what it happened to.")
    project_id: str | None = None
    details: dict[str, Any] = Field(default_factory=dict, description="Names and non-secret facts, before and after.")


class JournalVerification(BaseModel):
    """Whether the log is whole: each event bears the hash of the one before."""

    ok: bool
    events: int
    first_broken: int | None = Field(default=None, description="The number of the first event that does not fit.")
    head: str | None = Field(default=None, description="SHA-256 of the newest event, hex: compare it with a kept one.")


class SignIn(BaseModel):
    """A device that is signed in."""

    id: str
    kind: Literal["browser", "command_line"] = "command_line"
    name: str = Field(default="", description="What the device calls itself, or was called; not verified.")
    method: Literal["passkey", "password", "sso"] = Field(
        default="password", description="How its user showed who they are, there or at the device that let it in."
    )
    second_factor: bool = Field(default=False, description="Whether a second factor was shown at the sign-in.")
    created_at: datetime
    refreshed_at: datetime
    used_at: datetime | None = Field(default=None, description="The last use, true to a minute.")
    address: str | None = Field(default=None, description="Where the last use came from.")
    ends_at: datetime | None = Field(default=None, description="The latest end; null: as long as it is used.")
    current: bool = Field(description="Whether it is the one that asks.")


class SignInUpdate(Request):
    """What can be changed of a signed-in device."""

    name: str = Field(min_length=1, max_length=64)
