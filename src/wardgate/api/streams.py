"""Stream-outs: where the record goes besides the control plane, and how that goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, SecretStr, StringConstraints

from .models import Name, Request

_PEM = 65_536
_URL = "https://host/path for webhook and otlp; syslog+tls://host:6514, syslog+tcp://host:514 or syslog+udp://host:514."
_COMMANDS = "What sessions do: commands, refusals, connections, and the seals over their chains."
_EVENTS = "The control plane's own audit log."
_BODIES = "Whether commands are sent with their (masked) bodies; never over plain TCP and UDP."
_CA = "PEM; trusted for this stream in place of the system's authorities."
_HEADERS = "Sent with each request, as Authorization. Values are never given out."

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class StreamKind(StrEnum):
    """How lines are sent."""

    OTLP = "otlp"
    SYSLOG = "syslog"
    WEBHOOK = "webhook"


class StreamState(StrEnum):
    """How a stream goes. `waiting`: something is on its way; `failing`: the last attempt failed."""

    CURRENT = "current"
    FAILING = "failing"
    PAUSED = "paused"
    WAITING = "waiting"


class StreamCreate(Request):
    """The form of a stream."""

    name: Name
    kind: StreamKind
    url: str = Field(min_length=1, max_length=2048, description=_URL)
    commands: bool = Field(default=True, description=_COMMANDS)
    events: bool = Field(default=True, description=_EVENTS)
    bodies: bool = Field(default=False, description=_BODIES)
    ca_certificate: str | None = Field(default=None, min_length=1, max_length=_PEM, description=_CA)
    headers: dict[HeaderName, SecretStr] = Field(default_factory=dict, max_length=8, description=_HEADERS)


class StreamUpdate(Request):
    """Fields to change; those left out stay. `ca_certificate: null` trusts the system's authorities again. A new `url`
    drops the headers, which were meant for the old one, unless they are given again."""

    url: str | None = Field(default=None, min_length=1, max_length=2048, description=_URL)
    commands: bool | None = None
    events: bool | None = None
    bodies: bool | None = Field(default=None, description=_BODIES)
    ca_certificate: str | None = Field(default=None, min_length=1, max_length=_PEM, description=_CA)
    headers: dict[HeaderName, SecretStr] | None = Field(default=None, max_length=8, description=_HEADERS)
    paused: bool | None = Field(default=None, description="A paused stream keeps its place and sends nothing.")


class StreamStatus(BaseModel):
    """How far a stream has come. What is behind is counted in events and in sessions with something unsent."""

    state: StreamState
    sent: int = Field(description="Lines that the receiver has taken, ever.")
    sent_at: AwareDatetime | None = None
    lag_s: float = Field(default=0.0, description="How long the oldest unsent thing has been waiting.")
    events_behind: int = 0
    sessions_behind: int = 0
    failures: int = Field(default=0, description="Attempts that failed since the last one that did not.")
    failing_since: AwareDatetime | None = None
    last_error: str | None = None
    last_error_at: AwareDatetime | None = None
    next_try_at: AwareDatetime | None = None


class Stream(BaseModel):
    """One stream. Secrets are never given out."""

    id: str
    project_id: str | None = Field(description="Null: the organisation's, which gets what all projects do.")
    name: str
    kind: StreamKind
    url: str
    commands: bool
    events: bool
    bodies: bool
    ca_certificate: str | None
    header_names: list[str]
    created_at: AwareDatetime
    status: StreamStatus


class StreamSecret(BaseModel):
    """The key that a webhook's requests are signed with. Shown this once."""

    stream: Stream
    secret: str | None = Field(description="whsec_…; null for kinds that sign nothing.")


class StreamTest(BaseModel):
    """What became of a test line."""

    ok: bool
    message: str
    duration_ms: int
