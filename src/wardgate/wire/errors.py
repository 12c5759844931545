"""Broken rules of the protocol, and MongoDB's way of saying no.

Two classes that must not be confused: `RemoteProtocolError` means that the peer's bytes are wrong, which is ordinary
life for a gateway; `LocalProtocolError` means that our own caller asked for something impossible, which is a bug.

Law: an answerable `RemoteProtocolError` (one with a `mongo_code`) leaves the stream intact, and the client gets it as an
error document; an unanswerable one ends the connection, as mongod does with the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from ..errors import WardgateError

if TYPE_CHECKING:
    from .message import Request


class MongoCode(IntEnum):
    """The MongoDB error codes that wardgate itself answers with. `code_name` gives MongoDB's own name."""

    BAD_VALUE = 2
    HOST_UNREACHABLE = 6
    PROTOCOL_ERROR = 17
    UNAUTHORIZED = 13
    AUTHENTICATION_FAILED = 18
    INVALID_BSON = 22
    INVALID_NAMESPACE = 73
    UNSUPPORTED_OP_QUERY_COMMAND = 352
    MECHANISM_UNAVAILABLE = 334
    DUPLICATE_FIELD = 40413
    NO_DATABASE = 40571

    @property
    def code_name(self) -> str:
        """As MongoDB spells it in `codeName`; ``Location<code>`` for codes that have no name there."""
        raise NotImplementedError


class ProtocolError(WardgateError):
    """A rule of the wire protocol was broken."""


class RemoteProtocolError(ProtocolError):
    """The peer's bytes break a rule. `mongo_code` is what to answer; None: there is nothing to answer, close."""

    def __init__(self, code: str, message: str, mongo_code: MongoCode | None = None) -> None:
        super().__init__(code, message)
        self.mongo_code = mongo_code


class LocalProtocolError(ProtocolError):
    """Our own caller asked for something that would break the protocol: a bug of ours, never a peer's doing."""


def error_document(code: int, code_name: str, message: str, labels: Sequence[str] = ()) -> bytes:
    """``{ok: 0.0, errmsg, code, codeName[, errorLabels]}`` as raw BSON. `message` is cut at 2,000 characters."""
    raise NotImplementedError


def error_reply(
    request: Request, request_id: int, code: int, message: str, code_name: str | None = None, labels: Sequence[str] = ()
) -> bytes:
    """A whole error message in the request's own dialect: OP_MSG for OP_MSG, OP_REPLY for OP_QUERY.

    `request_id` is the id of this new message. Raises LocalProtocolError for a request that has no reply (moreToCome).
    `code_name` defaults to MongoDB's name for `code`, where we know it.
    """
    raise NotImplementedError


def ok_reply(request: Request, request_id: int, document: bytes) -> bytes:
    """`document` (raw BSON) as a whole reply message in the request's own dialect."""
    raise NotImplementedError
