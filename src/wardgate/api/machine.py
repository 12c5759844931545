"""What gateways and relays exchange with the control plane.

Every request but `enrol` is authenticated by a signed assertion (`api.assertion`). Credentials travel only inside
`sealed` fields: HPKE to a key that the receiver made for this one request (`wardgate.sealing`).
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from .models import EndReason, Mechanism, Name, Request, TestResult


def _from_base64(value: object) -> object:
    """Text is base64 (RFC 4648, padded, strict); bytes are taken as they are, so that models are built from bytes."""
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


Binary = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "byte"}),
]


class EnrolRequest(Request):
    """Proof of an enrolment token without sending its secret: `api.enrolment.csr_proof`, an HMAC over the CSR."""

    token_id: str = Field(max_length=64)
    kind: Literal["gateway", "relay"]
    name: Name | None = None
    csr: Binary = Field(description="DER.")
    proof: Binary
    version: str = Field(default="", max_length=64)


class EnrolAnswer(BaseModel):
    """Identity of the newcomer. `proof` is `api.enrolment.answer_proof`, an HMAC over all the other fields.

    A gateway has instances, each with a key of its own: `instance_id` is what it signs its requests as.
    """

    id: str
    name: str
    instance_id: str | None = None
    project_id: str | None = None
    certificate: Binary = Field(description="Leaf, DER.")
    intermediate: Binary = Field(description="The issuer of the leaf, DER.")
    root: Binary = Field(description="DER; its SHA-256 is the fingerprint in the token.")
    trust: dict[str, Binary] = Field(
        description="Intermediates by name (gateways, relays, sessions), DER, each signed by the root."
    )
    proof: Binary


class RenewRequest(Request):
    """A new certificate for the key in `csr` (DER), which may be a new key."""

    csr: Binary


class RenewAnswer(BaseModel):
    """The renewed certificate."""

    certificate: Binary
    intermediate: Binary


class RelayAddress(BaseModel):
    """A relay that a gateway keeps a control connection to."""

    id: str
    name: str
    address: str


class MaskRule(BaseModel):
    """A masking rule as a gateway gets it."""

    kind: Literal["path", "pattern"]
    expression: str


class LiveSession(Request):
    """One session that the gateway holds a lease for."""

    session_id: str
    epoch: int
    connections: int = 0
    masking: str | None = Field(
        default=None, max_length=64, description="Digest of the masking rules in force; null: it knows of none."
    )


class HeartbeatRequest(Request):
    """What is alive at the gateway."""

    version: str = Field(default="", max_length=64)
    sessions: list[LiveSession] = Field(default_factory=list)
    advertise: str | None = Field(default=None, max_length=300, description="Address of the direct route, host:port.")
    host: str = Field(default="", max_length=255, description="The machine's own name; shown, never trusted.")
    spool_bytes: int = 0


class SessionOrder(BaseModel):
    """A session that must die, and why; with an epoch, only if that one is still served.

    `fenced`: only the epoch is over, because a newer lease of the session exists, maybe at another instance.
    """

    session_id: str
    epoch: int | None = None
    fenced: bool = False
    reason: EndReason
    message: str | None = None


class SessionRenewal(BaseModel):
    """A lease that was renewed: seconds from the answer on."""

    session_id: str
    renew_by_s: float
    expires_in_s: float
    masking: list[MaskRule] | None = Field(default=None, description="The rules from now on; null: as they are.")


class HeartbeatAnswer(BaseModel):
    """What must end, what was renewed, and which relays to be reachable through."""

    end: list[SessionOrder] = Field(default_factory=list)
    renewed: list[SessionRenewal] = Field(default_factory=list)
    relays: list[RelayAddress] = Field(default_factory=list)
    certificate_expires_at: datetime | None = None


class MongoTarget(BaseModel):
    """A deployment in structured fields, parsed and checked by the control plane; never a string to parse again.

    With `srv_host` there are no `hosts`: the gateway asks the DNS of its own network for them.
    """

    hosts: list[tuple[str, int]]
    srv_host: str | None = None
    srv_service: str = "mongodb"
    srv_max_hosts: int = Field(default=0, description="0: all that the SRV record names.")
    set_name: str | None = None
    load_balanced: bool = False
    tls: bool
    reject_unauthorized: bool
    ca_certificate: str | None = None
    auth_database: str
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Checked options of the connection string: authMechanism, compressors (names joined by commas), "
        "directConnection, zlibCompressionLevel.",
    )


class Credentials(BaseModel):
    """One MongoDB user; exists only inside a sealed field, and is never printed."""

    model_config = ConfigDict(hide_input_in_errors=True)

    username: str = ""
    password: str = Field(default="", repr=False)
    mechanism: Mechanism = Mechanism.AUTO
    client_certificate: str | None = Field(default=None, repr=False, description="PEM with its private key.")


class Policy(BaseModel):
    """What the account allows beyond the default policy, and when its sessions end for want of use."""

    allow_admin: bool = False
    idle_timeout_s: float | None = Field(default=None, gt=0)


class LeaseRequest(Request):
    """Asks for the credentials of one live session, sealed to `public_key` (X25519, raw)."""

    session_id: str
    public_key: Binary
    masks: bool = Field(default=False, description="The gateway can mask what it records.")


class LeaseSecrets(BaseModel):
    """The sealed part of a lease."""

    model_config = ConfigDict(hide_input_in_errors=True)

    credentials: Credentials
    local_password: str | None = Field(default=None, repr=False, description="What MongoDB clients may log in with.")


class Lease(BaseModel):
    """A new epoch of one session; the older one, if any, is fenced."""

    session_id: str
    project_id: str
    epoch: int
    user: str
    user_id: str
    resource: str
    account: str
    expires_in_s: float
    renew_by_s: float
    active: bool = Field(default=False, description="The session has run before: failing to start does not end it.")
    target: MongoTarget
    policy: Policy
    local_auth: bool = Field(default=False, description="MongoDB clients must log in with the session password.")
    durability: Literal["strict", "process"] = "strict"
    masking: list[MaskRule] = Field(default_factory=list)
    audit_key_id: str
    audit_public_key: Binary = Field(description="X25519, raw; epoch keys are sealed to it.")
    previous_head: Head | None = Field(default=None, description="What was acknowledged of the epoch before.")
    sealed: Binary = Field(description="LeaseSecrets as JSON, HPKE, info `wardgate lease v1|<session>|<gateway>`.")


class Head(BaseModel):
    """The last acknowledged frame of an epoch."""

    epoch: int
    seq: int
    hash: str = Field(description="SHA-256 of the frame, hex.")


class SessionState(Request):
    """The gateway's word on a session."""

    epoch: int
    status: Literal["active", "ended"]
    end_reason: EndReason | None = None
    message: str | None = Field(default=None, max_length=1024)


class TestOrder(BaseModel):
    """A connection test to run (link event `test`); with `credentials_wanted` the login hop is tested too."""

    __test__ = False

    test_id: str
    target: MongoTarget
    credentials_wanted: bool = False


class TestSecretsRequest(Request):
    """Asks for the credentials of a test, sealed to `public_key` with info `wardgate test v1|<test>|<gateway>`."""

    __test__ = False

    public_key: Binary


class TestSecrets(BaseModel):
    """The answer."""

    __test__ = False

    sealed: Binary


class TestReport(Request):
    """What the gateway found."""

    __test__ = False

    result: TestResult


class RecordsAck(BaseModel):
    """What is durable now. `fenced`: a newer epoch exists, and this one takes no more than its own tail. `closed`: the
    epoch's gateway has said that this is all of it."""

    session_id: str
    epoch: int
    seq: int
    hash: str
    fenced: bool = False
    closed: bool = False


class RelayHeartbeatRequest(Request):
    """What a relay says of itself."""

    version: str = Field(default="", max_length=64)
    address: str = Field(max_length=300, description="`host:port` under which it is dialled.")
    gateways: list[str] = Field(default_factory=list, description="Ids of gateways that are connected now.")
    streams: int = 0


class RelayHeartbeatAnswer(BaseModel):
    """Gateways that may no longer connect, by id, and single instances of gateways, by the tag of their key."""

    revoked: list[str] = Field(default_factory=list)
    revoked_instances: list[str] = Field(default_factory=list)
    certificate_expires_at: datetime | None = None


class RelayConfigRequest(Request):
    """Asks for the relay's route key, sealed to `public_key` with info `wardgate relay key v1|<relay>`."""

    public_key: Binary


class RelayConfig(BaseModel):
    """What a relay needs to work offline."""

    sealed_key: Binary
    gateway_ca: Binary = Field(description="The gateways intermediate, DER.")


class LinkEvent(BaseModel):
    """One server-sent event of the control link, by its `event:` name."""

    end: SessionOrder | None = None
    test: TestOrder | None = None
    relays: list[RelayAddress] | None = None


Lease.model_rebuild()
