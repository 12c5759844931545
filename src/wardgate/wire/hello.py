"""hello and its ancestors, in both directions: the few fields that a gateway must change, edited in raw bytes.

Towards the server: what would relay a login or offer a compression goes, and the application name says who it is.
Towards the client: member addresses become loopback addresses. Everything else stays byte for byte.

Law: a hello that needs no change is returned as the very same bytes object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .message import Reply, Request

HELLO_COMMANDS: Final = frozenset({"hello", "isMaster", "ismaster"})


class ClientMetadata(Enum):
    """What becomes of the `client` field of a hello. A server takes it once, in its connection's first hello."""

    ATTRIBUTE = "attribute"  # first hello of the server connection: put our attribution into application.name
    KEEP = "keep"
    STRIP = "strip"  # the server connection had its first hello already


@dataclass(frozen=True, slots=True)
class HelloRequest:
    """What a client's hello says. `client_app` and `driver` are for display and never trusted."""

    name: str
    has_client: bool
    client_app: str | None
    driver: str | None  # "name version"
    platform: str | None
    load_balanced: bool
    asks_mechanisms: bool  # saslSupportedMechs was there
    speculative: bool  # speculativeAuthenticate was there
    awaits: bool  # topologyVersion and maxAwaitTimeMS: the server may hold the reply
    exhaust: bool


@dataclass(frozen=True, slots=True)
class HelloView:
    """How a hello reply is shown to this client.

    `addresses` maps the members' real ``host:port`` (lower case) to what the client is told; a member that is not in it is
    left out. `asks_mechanisms` comes from the request that is answered. `service_id` (12 bytes) answers `loadBalanced`.
    """

    addresses: Mapping[str, str]
    asks_mechanisms: bool = False
    service_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class HelloAddresses:
    """The addresses that a hello reply names, as the server spells them, lower case."""

    me: str | None
    primary: str | None
    members: tuple[str, ...]  # hosts, passives and arbiters, in this order


def is_hello(name: str) -> bool:
    """Whether a command name is hello or one of its legacy spellings (exactly these; MongoDB knows no others)."""
    return name in HELLO_COMMANDS


def attribution(user: str, session_id: str) -> str:
    """``wardgate:<user>:<session>``, the user part cut so that it leaves room: the prefix of all application names."""
    raise NotImplementedError


def read_request(request: Request) -> HelloRequest:
    """The facts of a hello request. Raises RemoteProtocolError where `client` is not a document."""
    raise NotImplementedError


def rewrite_request(
    request: Request, attribution: str, client: ClientMetadata = ClientMetadata.ATTRIBUTE, *, client_bytes: int = 512
) -> bytes:
    """The whole message to send to the server.

    Leaves out saslSupportedMechs, speculativeAuthenticate, compression and loadBalanced. With ATTRIBUTE the
    application's name becomes `attribution` followed by the client's own within 128 bytes; a hello without `client` gets
    one of ours; the document is trimmed to `client_bytes` (512 is what a mongos takes, 1,024 a mongod). A checksum is
    dropped together with its flag when bytes change.
    """
    raise NotImplementedError


def build_request(attribution: str, request_id: int) -> bytes:
    """A hello of our own (OP_MSG), for a client that sends another command first."""
    raise NotImplementedError


def read_addresses(reply: Reply) -> HelloAddresses:
    """What a hello reply names, so that it can be held until those members have listeners."""
    raise NotImplementedError


def rewrite_reply(reply: Reply, view: HelloView) -> bytes:
    """The whole message to send to the client: OP_MSG, OP_REPLY and streamed ones alike.

    Rewrites hosts, passives, arbiters, primary and me; drops compression, saslSupportedMechs and
    speculativeAuthenticate; adds ``saslSupportedMechs: ["SCRAM-SHA-256"]`` and serviceId where the view says so. A reply
    with ok: 0 passes unchanged.
    """
    raise NotImplementedError
