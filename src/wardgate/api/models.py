"""What people's clients send and get: the bodies of the public API.

These models are the contract that the OpenAPI document publishes and that the CLI prints with `--json`; field names
are therefore final. Times are RFC 3339 in UTC, durations that people type are strings (`wardgate.durations`), measured
ones are numbers with their unit in the name. A request model refuses unknown fields, so a typing error is an error and
never a default.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from ..ids import NAME_PATTERN
from .problems import FieldError
from .webauthn import PasskeyAssertion

Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$", max_length=63)]
Item = TypeVar("Item")


class Request(BaseModel):
    """A body that a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Page(BaseModel, Generic[Item]):
    """A list answer. `next` is an opaque cursor for `after=`, or null at the end."""

    items: list[Item]
    next: str | None = None


# --- identity -----------------------------------------------------------------------------------------------------


class LoginRequest(Request):
    """Password login."""

    email: str = Field(max_length=254)
    password: SecretStr = Field(min_length=1, max_length=1024)
    challenge_id: str | None = Field(default=None, max_length=64, description="Of the `mfa_required` before.")
    code: SecretStr | None = Field(default=None, min_length=1, max_length=64, description="The challenge's answer.")
    device: str | None = Field(default=None, max_length=64, description="What the device calls itself.")
    passkey: PasskeyAssertion | None = Field(default=None, description="The challenge's answer, by a passkey.")


class RefreshRequest(Request):
    """Exchange of a refresh token; it works once."""

    refresh_token: SecretStr = Field(min_length=1, max_length=256)


class Tokens(BaseModel):
    """A login: opaque tokens, shown once."""

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    expires_at: datetime
    user: User


class RoleBinding(BaseModel):
    """One role at one place."""

    role: Literal["admin", "auditor", "connector"]
    scope: str = Field(description="`organisation`, or the id of a project, resource or account.")
    group: str | None = Field(default=None, description="The group that gives it; null: it is one's own.")


class User(BaseModel):
    """A person or a service, as `whoami` shows them."""

    id: str
    kind: Literal["service", "user"] = "user"
    email: str = Field(description="Of a service: its name.")
    roles: list[RoleBinding] = Field(default_factory=list)


# --- projects, gateways, relays -----------------------------------------------------------------------------------


class ProjectCreate(Request):
    """A new project."""

    name: Name


class Project(BaseModel):
    """A team's space."""

    id: str
    name: str
    created_at: datetime


class GatewayCreate(Request):
    """A new gateway; it is `pending` until it enrols."""

    name: Name


class GatewayInstance(BaseModel):
    """One enrolled instance of a gateway."""

    id: str
    status: Literal["online", "offline", "revoked"]
    host: str = Field(default="", description="What the machine calls itself; not verified.")
    address: str | None = Field(default=None, description="`host:port` of its direct route, where it has one.")
    version: str | None = None
    enrolled_at: datetime
    last_seen_at: datetime | None = None
    sessions: int = 0


class Gateway(BaseModel):
    """A gateway as people see it: one name, one or several instances. It is online if one of them is."""

    id: str
    project_id: str
    name: str
    status: Literal["pending", "online", "offline", "revoked"]
    version: str | None = None
    created_at: datetime
    last_seen_at: datetime | None = None
    sessions: int = 0
    instances: list[GatewayInstance] = Field(default_factory=list)


class GatewayCreated(Gateway):
    """The answer to creation, or to the wish for a further instance: the enrolment token is shown this once."""

    token: str = Field(repr=False)
    token_expires_at: datetime


class RelayCreate(Request):
    """A new relay."""

    name: Name


class Relay(BaseModel):
    """A relay as people see it."""

    id: str
    name: str
    status: Literal["pending", "online", "offline", "revoked"]
    address: str | None = Field(default=None, description="`host:port` that clients and gateways dial.")
    embedded: bool = False
    version: str | None = None
    created_at: datetime
    last_seen_at: datetime | None = None


class RelayCreated(Relay):
    """The answer to creation: the enrolment token is shown this once."""

    token: str = Field(repr=False)
    token_expires_at: datetime


# --- resources and accounts ---------------------------------------------------------------------------------------


class ResourceCreate(Request):
    """The resource form."""

    name: Name
    gateway: Name
    connection_string: str = Field(min_length=1, max_length=4096)
    database: str = Field(default="admin", min_length=1, max_length=63, description="The authentication database.")
    ssl: bool = True
    reject_unauthorized: bool = True
    ca_certificate: str | None = Field(default=None, max_length=256 * 1024, description="PEM; null: the system's.")


class ResourceUpdate(Request):
    """Fields to change; those left out stay. `ca_certificate: null` goes back to the system's authorities."""

    gateway: Name | None = None
    connection_string: str | None = Field(default=None, min_length=1, max_length=4096)
    database: str | None = Field(default=None, min_length=1, max_length=63)
    ssl: bool | None = None
    reject_unauthorized: bool | None = None
    ca_certificate: str | None = Field(default=None, max_length=256 * 1024)
    if_updated_at: datetime | None = Field(
        default=None, description="Refuse with `conflict` if it was changed since it had that `updated_at`."
    )


class ResourceDraft(Request):
    """A resource form that is not saved: to look at, or to try."""

    gateway: Name
    connection_string: str = Field(min_length=1, max_length=4096)
    database: str = Field(default="admin", min_length=1, max_length=63)
    ssl: bool = True
    reject_unauthorized: bool = True
    ca_certificate: str | None = Field(default=None, max_length=256 * 1024)


class DraftCheck(BaseModel):
    """What can be said of a draft without reaching for the database."""

    hosts: list[str] = Field(description="Where it leads; empty where it is not understood.")
    errors: list[FieldError]
    notices: list[str]


class HopKind(StrEnum):
    """The hops of a connection test, in their order."""

    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    LOGIN = "login"
    TOPOLOGY = "topology"


class Hop(BaseModel):
    """One step towards one target."""

    hop: HopKind
    target: str
    ok: bool
    code: str | None = Field(default=None, description="Stable code of what failed; null when ok.")
    message: str
    duration_ms: float


class TestResult(BaseModel):
    """A connection test. `ok` is true when every needed hop is."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    ok: bool
    hops: list[Hop]


class Resource(BaseModel):
    """A guarded MongoDB deployment."""

    id: str
    project_id: str
    name: str
    gateway: str
    connection_string: str
    database: str
    ssl: bool
    reject_unauthorized: bool
    ca_certificate: str | None
    created_at: datetime
    updated_at: datetime
    tested_at: datetime | None = None
    test: TestResult | None = None
    warnings: list[str] = Field(default_factory=list)


class Mechanism(StrEnum):
    """How an account logs in to MongoDB. `auto` is SCRAM: the newest that the server offers for the user."""

    AUTO = "auto"
    AWS = "MONGODB-AWS"
    OIDC = "MONGODB-OIDC"
    PLAIN = "PLAIN"
    SCRAM_SHA_1 = "SCRAM-SHA-1"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    X509 = "MONGODB-X509"


_USERNAME = (
    "The MongoDB user; with MONGODB-AWS the access key's id. Left out with MONGODB-X509, where it is the certificate's "
    "subject, and with MONGODB-OIDC, where it is the token's."
)
_KEPT = "Kept byte for byte; with MONGODB-AWS the secret access key. None with MONGODB-X509 and MONGODB-OIDC."
_CERTIFICATE = (
    "PEM: a client certificate, its private key and what leads up to its authority. With MONGODB-X509 it is the login; "
    "with any other mechanism it is shown to servers that ask for one."
)
_PEM = 64 * 1024


class AccountCreate(Request):
    """The account form."""

    name: Name
    description: str = Field(default="", max_length=1024)
    mechanism: Mechanism = Mechanism.AUTO
    username: str = Field(default="", max_length=1024, description=_USERNAME)
    password: SecretStr | None = Field(default=None, min_length=1, max_length=4096, description=_KEPT)
    client_certificate: SecretStr | None = Field(default=None, min_length=1, max_length=_PEM, description=_CERTIFICATE)
    require_mfa: bool = False
    require_reason: bool = False
    require_approval: bool = False
    allow_admin: bool = False
    max_duration: str | None = Field(default=None, max_length=32)
    idle_timeout: str | None = Field(default="30m", max_length=32, description="Null: never.")
    max_sessions: int | None = Field(default=None, ge=1, le=10_000, description="Live ones, of all users.")


class AccountUpdate(Request):
    """Fields to change; those left out stay. `max_duration: null` takes the limit away, `client_certificate: null` the
    certificate. A new `mechanism` drops the password, unless both are SCRAM."""

    description: str | None = Field(default=None, max_length=1024)
    mechanism: Mechanism | None = None
    username: str | None = Field(default=None, max_length=1024, description=_USERNAME)
    password: SecretStr | None = Field(default=None, min_length=1, max_length=4096, description=_KEPT)
    client_certificate: SecretStr | None = Field(default=None, min_length=1, max_length=_PEM, description=_CERTIFICATE)
    require_mfa: bool | None = None
    require_reason: bool | None = None
    require_approval: bool | None = None
    allow_admin: bool | None = None
    max_duration: str | None = Field(default=None, max_length=32)
    idle_timeout: str | None = Field(default=None, max_length=32)
    max_sessions: int | None = Field(default=None, ge=1, le=10_000)
    if_updated_at: datetime | None = Field(
        default=None, description="Refuse with `conflict` if it was changed since it had that `updated_at`."
    )


class Account(BaseModel):
    """One MongoDB user on a resource. Password and private key are never given out."""

    id: str
    project_id: str
    resource: str
    name: str
    description: str
    mechanism: Mechanism
    username: str
    certificate_expires_at: datetime | None = Field(
        default=None, description="When its client certificate expires; null where it has none."
    )
    require_mfa: bool
    require_reason: bool
    require_approval: bool
    allow_admin: bool
    max_duration: str | None
    idle_timeout: str | None
    max_sessions: int | None
    needs_password: bool = Field(
        description="Its password or client certificate must be entered again before the account can be used."
    )
    created_at: datetime
    updated_at: datetime
    tested_at: datetime | None = None
    test: TestResult | None = None
    warnings: list[str] = Field(default_factory=list)


# --- sessions -----------------------------------------------------------------------------------------------------


class SessionStatus(StrEnum):
    """`starting → active → ended`."""

    STARTING = "starting"
    ACTIVE = "active"
    ENDED = "ended"


class EndReason(StrEnum):
    """Why a session ended."""

    CLIENT_CLOSED = "client_closed"
    EXPIRED = "expired"
    TERMINATED = "terminated"
    IDLE = "idle"
    CLIENT_LOST = "client_lost"
    GATEWAY_LOST = "gateway_lost"
    RIGHTS_LOST = "rights_lost"
    AUDIT_FAILED = "audit_failed"
    FAILED_TO_START = "failed_to_start"


class VerificationState(StrEnum):
    """What `session verify` answers."""

    VERIFIED = "verified"
    OPEN = "open"
    INCOMPLETE = "incomplete"
    TAMPERED = "tampered"


class ClientFacts(Request):
    """What the local proxy says of itself; shown, never trusted."""

    version: str = Field(default="", max_length=64)
    platform: str = Field(default="", max_length=128)
    hostname: str = Field(default="", max_length=255)


class SessionRequest(Request):
    """A wish for access. Only the public key is taken from the CSR."""

    resource: str = Field(max_length=63)
    account: str = Field(max_length=63)
    duration: str = Field(max_length=32)
    reason: str | None = Field(default=None, max_length=1024)
    csr: str = Field(max_length=8192, description="PEM, P-256.")
    mfa_challenge: str | None = Field(
        default=None, max_length=64, description="A challenge that was met: of the `mfa_required` before, for the same."
    )
    local_auth: bool = Field(default=False, description="Require the session password of every MongoDB client.")
    client: ClientFacts = Field(default_factory=ClientFacts)


class Session(BaseModel):
    """One person's recorded stay on one account."""

    id: str
    project_id: str
    resource: str
    account: str
    user: str = Field(description="E-mail address.")
    status: SessionStatus
    end_reason: EndReason | None = None
    end_message: str | None = Field(default=None, description="One sentence, where the reason alone says too little.")
    link: Literal["ok", "lost"] | None = Field(default=None, description="Whether the gateway renews; null once ended.")
    reason: str | None = None
    gateway: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime
    duration_s: float | None = Field(default=None, description="From started_at to ended_at, or to now.")
    commands: int = 0
    errors: int = 0
    documents_read: int = Field(default=0, description="Returned by commands that read.")
    documents_changed: int = Field(default=0, description="Inserted, modified, upserted or deleted.")
    verification: VerificationState = VerificationState.OPEN
    local_auth: bool = Field(default=False, description="Whether MongoDB clients must give the session password.")
    client: ClientFacts = Field(default_factory=ClientFacts)


class Route(BaseModel):
    """One way to the gateway; the CLI tries them in order."""

    kind: Literal["direct", "relay"]
    name: str
    address: str = Field(description="`host:port`.")
    sni: str
    instance: str | None = Field(default=None, description="The instance that a direct route leads to; null: any.")


class SessionRoutes(BaseModel):
    """The ways to a live session's gateway as they are now."""

    routes: list[Route]


class SessionGrant(BaseModel):
    """What a granted request gets: a certificate for exactly this session, and the way to the gateway."""

    session: Session
    certificate: str = Field(description="PEM: the session's certificate and the sessions intermediate.")
    gateway_id: str
    gateway_ca: str = Field(description="PEM: the gateways intermediate, the only trust anchor for the gateway.")
    routes: list[Route]
    granted_s: float
    local_password: str | None = Field(
        default=None,
        repr=False,
        description="The session password, shown this once: MongoDB clients may log in with it; with `local_auth` they "
        "must.",
    )
    notices: list[str] = Field(default_factory=list)


class Record(BaseModel):
    """One line of a session's log; an outcome is merged into its intent's line.

    A reader ignores fields that it does not know: a newer control plane tells more than an older CLI asks for."""

    epoch: int
    seq: int
    at: datetime
    connection: int | None = None
    kind: str = Field(description="`command`, `denied`, `connection` or `session`.")
    database: str | None = None
    collection: str | None = None
    command: str | None = Field(default=None, description="The command's name.")
    body: dict[str, Any] | None = Field(default=None, description="Canonical Extended JSON.")
    effect: str | None = Field(default=None, description="`read`, `write`, `admin`, `code` or `auth`.")
    ok: float | None = None
    code: int | None = None
    rule: str | None = None
    documents: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    duration_us: int | None = None
    client_app: str | None = None
    unacknowledged: bool | None = None
    error: str | None = None
    matched: int | None = Field(default=None, description="Documents that an update found.")
    modified: int | None = Field(default=None, description="Documents that it changed.")
    upserted: int | None = Field(default=None, description="Documents that it made, since it found none.")
    inserted: int | None = None
    deleted: int | None = None
    write_errors: int | None = Field(default=None, description="Writes that failed; `code` is the first's.")
    continues: int | None = Field(default=None, description="`seq` of the command whose cursor was read further.")
    documents_in_all: int | None = Field(
        default=None, description="Documents that were read through the cursor which this command opened."
    )
    event: str | None = Field(default=None, description="For connection and session records: opened, closed, …")
    details: dict[str, Any] | None = Field(default=None, description="For connection and session records.")


class Verification(BaseModel):
    """The state of a session's chain, and where it breaks."""

    session_id: str
    state: VerificationState
    records: int
    epochs: int
    seals: int = Field(default=0, description="How many times the control plane has signed the heads.")
    sealed_at: datetime | None = Field(default=None, description="When it did last.")
    how: str | None = Field(default=None, description="What was done to the record, when tampered: `gap`, `altered`, …")
    epoch: int | None = Field(default=None, description="First bad epoch, when tampered or incomplete.")
    seq: int | None = Field(default=None, description="First bad sequence number.")
    detail: str | None = None
    head: str | None = Field(default=None, description="SHA-256 of the last frame, hex.")
    signature: str | None = Field(default=None, description="The control plane's final seal, base64.")


Tokens.model_rebuild()
