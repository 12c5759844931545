"""Bodies of the API that are about access requests: asking, deciding, and what a grant is good for."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from .models import Request


class RequestStatus(StrEnum):
    """`pending → approved | denied | cancelled | expired`, and `approved → revoked`."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REVOKED = "revoked"


class AccessRequestCreate(Request):
    """A wish to be let in where that needs somebody's approval."""

    resource: str = Field(max_length=63)
    account: str = Field(max_length=63)
    duration: str = Field(max_length=32, description="The longest session that is asked for, as `1h`.")
    window: str = Field(default="8h", max_length=32, description="For how long after the approval, as `8h`.")
    reason: str = Field(min_length=1, max_length=1024)


class Decision(Request):
    """Yes or no, and a word with it."""

    note: str = Field(default="", max_length=1024)


class AccessRequest(BaseModel):
    """A wish, and what became of it. Approved, it is a grant: for its account, its duration, until `until`."""

    id: str
    project_id: str
    resource: str
    account: str
    user: str = Field(description="E-mail address of who asked.")
    reason: str
    duration: str
    window: str
    status: RequestStatus
    created_at: datetime
    expires_at: datetime = Field(description="Nobody decides after that.")
    decided_at: datetime | None = None
    decided_by: str | None = Field(default=None, description="E-mail address.")
    note: str = ""
    until: datetime | None = Field(default=None, description="Sessions of the grant end by then at the latest.")
