"""hello and its ancestors, in both directions: the few fields that a gateway must change, edited in raw bytes.

Towards the server: what would relay a login or offer a compression goes, and the application name says who it is.
Towards the client: member addresses become loopback addresses. Everything else stays byte for byte, in its order.

What it is not: a judge of who may be told which address; the view comes from the caller.

Law: a hello that needs no change is returned as the very same bytes object. Where bytes change, a checksum goes
together with its flag, because it would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ..rawbson import build, walk
from ..rawbson.walk import BsonError
from . import metadata
from .errors import LocalProtocolError, MongoCode, RemoteProtocolError
from .header import HEADER, HEADER_BYTES
from .message import CHECKSUM_PRESENT, OpMsg, OpQuery, OpReply, Reply, Request, build_msg
from .metadata import attribution

__all__ = [
    "HELLO_COMMANDS",
    "ClientMetadata",
    "HelloAddresses",
    "HelloRequest",
    "HelloView",
    "attribution",
    "build_request",
    "compression_of",
    "is_hello",
    "read_addresses",
    "read_request",
    "rewrite_reply",
    "rewrite_request",
]

HELLO_COMMANDS: Final = frozenset({"hello", "isMaster", "ismaster"})

# Never forwarded: the first two are a login, the third an offer that ends at the gateway, the last is for the gateway.
# internalClient would make the connection one of the cluster's own members, which answers by other rules.
_NOT_FOR_SERVERS: Final = frozenset(
    {b"saslSupportedMechs", b"speculativeAuthenticate", b"compression", b"loadBalanced", b"internalClient"}
)
_NOT_FOR_CLIENTS: Final = frozenset({b"saslSupportedMechs", b"speculativeAuthenticate", b"compression"})
_LISTS: Final = (b"hosts", b"passives", b"arbiters")
# One answer for every user name, so that it tells nothing. Without the field drivers fall back to SCRAM-SHA-1, where
# the Node driver refuses an empty password.
_MECHANISMS: Final = build.strings(b"saslSupportedMechs", ("SCRAM-SHA-256",))


class ClientMetadata(Enum):
    """What becomes of the `client` field of a hello. A server takes it once, in its connection's first hello."""

    ATTRIBUTE = "attribute"  # first hello of the server connection: put our attribution into application.name
    KEEP = "keep"
    STRIP = "strip"  # the server connection had its first hello already


@dataclass(frozen=True, slots=True)
class HelloRequest:
    """What a client's hello says. `client_app`, `driver` and `platform` are for display and never trusted."""

    name: str
    has_client: bool
    client_app: str | None
    driver: str | None  # "name version"
    platform: str | None
    load_balanced: bool
    asks_mechanisms: bool  # saslSupportedMechs was there
    speculative: bool  # speculativeAuthenticate was there
    compression: tuple[str, ...] | None  # the compressors that it asks for; None: it does not speak of any
    awaits: bool  # topologyVersion and maxAwaitTimeMS: the server may hold the reply
    exhaust: bool


@dataclass(frozen=True, slots=True)
class HelloView:
    """How a hello reply is shown to this client.

    `addresses` maps the members' real ``host:port`` (lower case) to what the client is told; a member that is not in it
    is left out. `asks_mechanisms` comes from the request that is answered. `service_id` (12 bytes) answers
    `loadBalanced`, `compression` names the compressors that this client may use. With `single`, the one address that
    leads here, a replica set is shown as a set of one member.
    """

    addresses: Mapping[str, str]
    asks_mechanisms: bool = False
    service_id: bytes | None = None
    single: str | None = None
    compression: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class HelloAddresses:
    """The addresses that a hello reply names, as the server spells them, lower case."""

    me: str | None
    primary: str | None
    members: tuple[str, ...]  # hosts, passives and arbiters, in this order


def is_hello(name: str) -> bool:
    """Whether a command name is hello or one of its legacy spellings (exactly these; MongoDB knows no others)."""
    return name in HELLO_COMMANDS


def read_request(request: Request) -> HelloRequest:
    """The facts of a hello request. Raises RemoteProtocolError (answerable) where `client` is no document."""
    raw = request.raw
    fields = _fields(raw, request.body_start, request.body_end)
    client = fields.get(b"client")
    facts = metadata.ClientFacts(None, None, None)
    if client is not None:
        if client[0] != walk.DOCUMENT:
            # A server would refuse it too; but after that refusal its connection would go on without attribution.
            raise RemoteProtocolError("bad_client", "The field client must be a document.", MongoCode.TYPE_MISMATCH)
        facts = metadata.read(raw[client[1] : client[2]])
    balanced = fields.get(b"loadBalanced")
    return HelloRequest(
        name=next(iter(fields), b"").decode("utf-8", "replace"),
        has_client=client is not None,
        client_app=facts.app,
        driver=facts.driver,
        platform=facts.platform,
        load_balanced=balanced is not None and walk.number(raw, balanced[0], balanced[1]) not in (None, 0),
        asks_mechanisms=b"saslSupportedMechs" in fields,
        speculative=b"speculativeAuthenticate" in fields,
        compression=read_compression(raw, fields),
        awaits=b"topologyVersion" in fields and b"maxAwaitTimeMS" in fields,
        exhaust=request.exhaust_allowed,
    )


def read_compression(raw: bytes, fields: Mapping[bytes, tuple[int, int, int]]) -> tuple[str, ...] | None:
    """The names in the field `compression` of a hello or its reply; None where there is no such array."""
    found = fields.get(b"compression")
    return None if found is None or found[0] != walk.ARRAY else tuple(_strings(raw, found[1], found[2]))


def compression_of(reply: Reply) -> tuple[str, ...]:
    """The compressors that a server agrees to in this hello reply."""
    return read_compression(reply.raw, _fields(reply.raw, reply.body_start, reply.body_end)) or ()


def rewrite_request(
    request: Request,
    attribution: str,
    client: ClientMetadata = ClientMetadata.ATTRIBUTE,
    *,
    client_bytes: int = 512,
    compression: Sequence[str] = (),
    balanced: bool = False,
) -> bytes:
    """The whole message to send to the server. `compression` is what the gateway itself asks for.

    Leaves out saslSupportedMechs, speculativeAuthenticate, compression, internalClient and, unless the server stands
    behind a load balancer too (`balanced`), loadBalanced. With
    ATTRIBUTE the application's name becomes `attribution` followed by the client's own within 128 bytes; a hello
    without `client` gets one of ours; the document is trimmed to `client_bytes` (512 is what a mongos takes, 1,024 a
    mongod).
    """
    raw = request.raw
    parts: list[bytes] = []
    changed = has_client = False
    for kind, name, start, stop in _elements(raw, request.body_start, request.body_end):
        if name in _NOT_FOR_SERVERS and not (balanced and name == b"loadBalanced"):
            changed = True
        elif name == b"client" and client is not ClientMetadata.KEEP:
            changed = has_client = True
            if client is ClientMetadata.ATTRIBUTE:
                document = raw[start:stop] if kind == walk.DOCUMENT else None
                parts.append(metadata.element(document, attribution, client_bytes))
        else:
            parts.append(build.element(kind, name, raw[start:stop]))
    if client is ClientMetadata.ATTRIBUTE and not has_client:
        changed = True
        parts.append(metadata.element(None, attribution, client_bytes))
    if compression:
        changed = True
        parts.append(build.strings(b"compression", compression))
    return _replace_command(request, build.document(parts)) if changed else raw


def build_request(
    attribution: str, request_id: int, *, compression: Sequence[str] = (), balanced: bool = False
) -> bytes:
    """A hello of our own (OP_MSG), for a client that sends another command first."""
    parts = [build.int32(b"hello", 1), build.boolean(b"helloOk", True), metadata.element(None, attribution, 512)]
    if compression:
        parts.append(build.strings(b"compression", compression))
    if balanced:
        parts.append(build.boolean(b"loadBalanced", True))
    parts.append(build.string(b"$db", "admin"))
    return build_msg(build.document(parts), request_id)


def read_addresses(reply: Reply) -> HelloAddresses:
    """What a hello reply names, so that it can be held until those members have listeners."""
    raw = reply.raw
    fields = _fields(raw, reply.body_start, reply.body_end)
    members: list[str] = []
    for name in _LISTS:
        if name in fields and fields[name][0] == walk.ARRAY:
            members.extend(address.lower() for address in _strings(raw, fields[name][1], fields[name][2]))
    return HelloAddresses(_address(raw, fields.get(b"me")), _address(raw, fields.get(b"primary")), tuple(members))


def rewrite_reply(reply: Reply, view: HelloView) -> bytes:
    """The whole message to send to the client: OP_MSG, OP_REPLY and streamed ones alike.

    Rewrites hosts, passives, arbiters, primary and me; drops compression, saslSupportedMechs and
    speculativeAuthenticate; adds ``saslSupportedMechs: ["SCRAM-SHA-256"]``, compression and serviceId where the view
    says so, before `ok`, but not to an error. A real server names no addresses there; one that does gets them
    rewritten all the same.
    """
    raw = reply.raw
    addresses = view.addresses
    if view.single is not None:
        # Only the member that speaks has a way: the others are left out, and tags with nobody to choose among.
        me = read_addresses(reply).me
        addresses = {} if me is None else {me: view.single}
    parts: list[bytes] = []
    changed = has_service = failed = False
    before_ok = None
    for kind, name, start, stop in _elements(raw, reply.body_start, reply.body_end):
        if name == b"ok":
            failed = failed or not walk.number(raw, kind, start)
            before_ok = len(parts)
        if name in _NOT_FOR_CLIENTS or (view.single is not None and name == b"tags"):
            changed = True
            continue
        if name in _LISTS and kind == walk.ARRAY:
            changed = True
            known = [addresses.get(address.lower()) for address in _strings(raw, start, stop)]
            shown = [address for address in known if address is not None]
            if shown or name == b"hosts":
                parts.append(build.strings(name, shown))
            continue
        if name in (b"me", b"primary") and kind == walk.STRING:
            changed = True
            told = addresses.get(_text(raw, start, stop).lower())
            if told is not None:
                parts.append(build.string(name, told))
            continue
        has_service = has_service or name == b"serviceId"
        parts.append(build.element(kind, name, raw[start:stop]))
    if failed:
        return _replace_reply(reply, build.document(parts)) if changed else raw
    added: list[bytes] = []
    if view.asks_mechanisms:
        added.append(_MECHANISMS)
    if view.compression:
        added.append(build.strings(b"compression", view.compression))
    if view.service_id is not None and not has_service:
        added.append(build.element(walk.OBJECT_ID, b"serviceId", view.service_id))
    if not added and not changed:
        return raw
    at = len(parts) if before_ok is None else before_ok  # where a server has them; the times of a cluster come last
    return _replace_reply(reply, build.document([*parts[:at], *added, *parts[at:]]))


def is_writable(reply: Reply) -> bool:
    """Whether the member that sent this hello reply calls itself a primary that takes writes."""
    raw, start, end = reply.raw, reply.body_start, reply.body_end
    for name in (b"isWritablePrimary", b"ismaster"):
        found = walk.find(raw, name, start, end)
        if found is not None:
            return found[0] == walk.BOOLEAN and raw[found[1]] == 1
    return False


def _replace_command(request: Request, document: bytes) -> bytes:
    raw = request.raw
    if isinstance(request, OpMsg):
        return _replace_msg(request, document)
    if isinstance(request, OpQuery) and request.wrapped:
        outer = [
            build.element(kind, name, document if start == request.body_start else raw[start:stop])
            for kind, name, start, stop in _elements(raw, request.outer_start, request.outer_end)
        ]
        document = build.document(outer)
    return _with_header(raw, raw[HEADER_BYTES : request.outer_start] + document + raw[request.outer_end :])


def _replace_reply(reply: Reply, document: bytes) -> bytes:
    if isinstance(reply, OpReply):
        return _with_header(reply.raw, reply.raw[HEADER_BYTES : reply.body_start] + document)
    return _replace_msg(reply, document)


def _replace_msg(message: OpMsg, document: bytes) -> bytes:
    if message.sequences:
        raise LocalProtocolError("hello_sections", "A hello with document sequences should have been refused before.")
    return build_msg(document, message.request_id, message.response_to, message.flags & ~CHECKSUM_PRESENT)


def _with_header(raw: bytes, rest: bytes) -> bytes:
    _, request_id, response_to, opcode = HEADER.unpack_from(raw)
    return HEADER.pack(HEADER_BYTES + len(rest), request_id, response_to, opcode) + rest


def _address(raw: bytes, value: tuple[int, int, int] | None) -> str | None:
    return None if value is None or value[0] != walk.STRING else _text(raw, value[1], value[2]).lower()


def _strings(raw: bytes, start: int, stop: int) -> list[str]:
    return [_text(raw, value, end) for kind, _, value, end in _elements(raw, start, stop) if kind == walk.STRING]


# Documents were validated when their message was parsed; a name or text that is not UTF-8 can still come.


def _fields(raw: bytes, start: int, stop: int) -> dict[bytes, tuple[int, int, int]]:
    try:
        return walk.top_level(raw, start, stop)
    except walk.DuplicateKeyError as error:
        raise RemoteProtocolError(
            "duplicate_field", f"A hello is malformed: {error}.", MongoCode.DUPLICATE_FIELD
        ) from error
    except BsonError as error:
        raise _invalid(error) from error


def _elements(raw: bytes, start: int, stop: int) -> Iterator[walk.Element]:
    try:
        yield from walk.elements(raw, start, stop)
    except BsonError as error:
        raise _invalid(error) from error


def _text(raw: bytes, start: int, stop: int) -> str:
    try:
        return walk.text(raw, start, stop)
    except BsonError as error:
        raise _invalid(error) from error


def _invalid(error: BsonError) -> RemoteProtocolError:
    return RemoteProtocolError("invalid_bson", f"A hello is malformed: {error}.", MongoCode.INVALID_BSON)
