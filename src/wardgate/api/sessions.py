"""Lists of sessions and what they add up to.

A session itself (`Session`) stands in `models`, beside the request that opens it.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, Field

from .models import EndReason


class SessionState(StrEnum):
    """What a list of sessions is narrowed to: those that go on (starting or active), or those that are over."""

    ENDED = "ended"
    LIVE = "live"


class SessionFilter(BaseModel):
    """Which sessions of a project are meant; what is left out is any."""

    state: SessionState | None = None
    end_reason: EndReason | None = None
    user: str | None = Field(default=None, description="E-mail address or id.")
    resource: str | None = Field(default=None, description="Name or id.")
    account: str | None = Field(default=None, description="Name or id.")
    since: AwareDatetime | None = Field(default=None, description="Created then or later.")
    until: AwareDatetime | None = Field(default=None, description="Created before.")


class ActivityStep(BaseModel):
    """One stretch of time: what the sessions that were created in it have done so far."""

    at: AwareDatetime
    sessions: int
    commands: int
    errors: int


class ActivityShare(BaseModel):
    """A person's or an account's part of it."""

    name: str = Field(description="An e-mail address, or `account on resource`.")
    sessions: int
    commands: int


class Activity(BaseModel):
    """What a project's sessions of some time add up to, as far as the reader may see them."""

    since: AwareDatetime
    until: AwareDatetime
    live: int = Field(description="Sessions that go on now, whenever they began.")
    sessions: int
    commands: int
    errors: int
    documents_read: int
    documents_changed: int
    steps: list[ActivityStep]
    people: list[ActivityShare] = Field(description="Who opened most sessions.")
    accounts: list[ActivityShare] = Field(description="The accounts that most were opened on.")
    ends: dict[EndReason, int] = Field(description="How many ended for which reason.")
    tampered: int = Field(description="Sessions whose record does not verify, whenever they were.")
