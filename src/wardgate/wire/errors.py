"""Broken rules of the protocol, and MongoDB's way of saying no.

Two classes that must not be confused: `RemoteProtocolError` means that the peer's bytes are wrong, which is ordinary
life for a gateway; `LocalProtocolError` means that our own caller asked for something impossible, which is a bug.

Law: an answerable `RemoteProtocolError` (one with a `mongo_code`) leaves the stream intact, and the client gets it as
an error document; an unanswerable one ends the connection, as mongod does with the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from ..errors import WardgateError
from ..rawbson import build
from .header import build_msg, build_reply

MESSAGE_CHARACTERS = 2_000  # of an errmsg that quotes what a client sent


class MongoCode(IntEnum):
    """The MongoDB error codes that wardgate itself answers with."""

    BAD_VALUE = 2
    HOST_UNREACHABLE = 6
    FAILED_TO_PARSE = 9
    UNAUTHORIZED = 13
    TYPE_MISMATCH = 14
    OVERFLOW = 15
    PROTOCOL_ERROR = 17
    AUTHENTICATION_FAILED = 18
    INVALID_BSON = 22
    CURSOR_NOT_FOUND = 43
    MAX_TIME_MS_EXPIRED = 50
    INVALID_NAMESPACE = 73
    MECHANISM_UNAVAILABLE = 334
    UNSUPPORTED_OP_QUERY_COMMAND = 352
    UNSUPPORTED_COMPRESSOR = 364
    NO_SUCH_TRANSACTION = 251
    BSON_OBJECT_TOO_LARGE = 10334
    INTERRUPTED_BY_STEP_DOWN = 11602
    DUPLICATE_FIELD = 40413
    UNKNOWN_FIELD = 40415
    REPEATED_BODY = 40430
    REPEATED_SEQUENCE = 40431
    UNKNOWN_SECTION = 40432
    SEQUENCE_IN_BODY = 40433
    NO_DATABASE = 40571
    NO_BODY = 40587
    LEGACY_OPCODE = 5739101

    @property
    def code_name(self) -> str:
        """As MongoDB spells it in `codeName`; ``Location<code>`` for codes that have no name there."""
        return name_of(self)


_CODE_NAMES = {
    2: "BadValue",
    6: "HostUnreachable",
    8: "UnknownError",
    9: "FailedToParse",
    13: "Unauthorized",
    14: "TypeMismatch",
    15: "Overflow",
    17: "ProtocolError",
    18: "AuthenticationFailed",
    20: "IllegalOperation",
    22: "InvalidBSON",
    43: "CursorNotFound",
    50: "MaxTimeMSExpired",
    59: "CommandNotFound",
    73: "InvalidNamespace",
    91: "ShutdownInProgress",
    189: "PrimarySteppedDown",
    251: "NoSuchTransaction",
    334: "MechanismUnavailable",
    352: "UnsupportedOpQueryCommand",
    364: "UnsupportedCompressor",
    10107: "NotWritablePrimary",
    10334: "BSONObjectTooLarge",
    11600: "InterruptedAtShutdown",
    11601: "Interrupted",
    11602: "InterruptedDueToReplStateChange",
    13436: "NotPrimaryOrSecondary",
}


def name_of(code: int) -> str:
    """MongoDB's name for an error code."""
    return _CODE_NAMES.get(code, f"Location{int(code)}")


class Answerable(Protocol):
    """What a reply needs of its request (`wire.message.Request` is one; that file imports this one)."""

    @property
    def request_id(self) -> int:
        """The request's own id."""

    @property
    def legacy(self) -> bool:
        """It was an OP_QUERY and is answered with an OP_REPLY."""

    @property
    def more_to_come(self) -> bool:
        """It has no reply slot."""


class ProtocolError(WardgateError):
    """A rule of the wire protocol was broken."""


class RemoteProtocolError(ProtocolError):
    """The peer's bytes break a rule. `mongo_code` is what to answer; None: there is nothing to answer, close."""

    def __init__(self, code: str, message: str, mongo_code: MongoCode | None = None) -> None:
        super().__init__(code, message)
        self.mongo_code = mongo_code


class LocalProtocolError(ProtocolError):
    """Our own caller asked for something that would break the protocol: a bug of ours, never a peer's doing."""


def error_document(code: int, code_name: str | None, message: str, labels: Sequence[str] = ()) -> bytes:
    """``{ok: 0.0, errmsg, code, codeName[, errorLabels]}`` as raw BSON, in mongod's order of fields."""
    parts = [
        build.double(b"ok", 0.0),
        build.string(b"errmsg", message[:MESSAGE_CHARACTERS]),
        build.int32(b"code", code),
        build.string(b"codeName", code_name or name_of(code)),
    ]
    if labels:
        parts.append(build.strings(b"errorLabels", labels))
    return build.document(parts)


def error_reply(
    request: Answerable,
    request_id: int,
    code: int,
    message: str,
    code_name: str | None = None,
    labels: Sequence[str] = (),
) -> bytes:
    """A whole error message in the request's own dialect: OP_MSG for OP_MSG, OP_REPLY for OP_QUERY.

    `request_id` is the id of this new message; `code_name` defaults to MongoDB's name for `code`. Raises
    LocalProtocolError for a request that has no reply (moreToCome).
    """
    return ok_reply(request, request_id, error_document(code, code_name, message, labels))


def ok_reply(request: Answerable, request_id: int, document: bytes) -> bytes:
    """`document` (raw BSON) as a whole reply message in the request's own dialect."""
    if request.more_to_come:
        raise LocalProtocolError("no_reply_slot", "An unacknowledged request has no reply.")
    build_any = build_reply if request.legacy else build_msg
    return build_any(document, request_id, request.request_id)
