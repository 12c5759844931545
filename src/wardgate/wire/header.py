"""The 16 bytes in front of every MongoDB message.

Law: `check_length` is asked before a byte of the declared size is kept or allocated.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

HEADER_BYTES: Final = 16
MESSAGE_BYTES_MAX: Final = 48_000_000  # maxMessageSizeBytes; mongod closes the socket one byte above

HEADER: Final = struct.Struct("<iiii")


class Opcode(IntEnum):
    """The opcodes that MongoDB has ever had on the wire."""

    REPLY = 1
    UPDATE = 2001
    INSERT = 2002
    QUERY = 2004
    GET_MORE = 2005
    DELETE = 2006
    KILL_CURSORS = 2007
    COMMAND = 2010
    COMMAND_REPLY = 2011
    COMPRESSED = 2012
    MSG = 2013


class Header(NamedTuple):
    """`length` counts its own 16 bytes too. Request ids may be 0, negative or repeated."""

    length: int
    request_id: int
    response_to: int
    opcode: int


def header_of(message: bytes | bytearray | memoryview) -> Header:
    """The header of a message, or of its first piece of at least 16 bytes."""
    return Header._make(HEADER.unpack_from(message))


def check_length(length: int, limit: int = MESSAGE_BYTES_MAX) -> bool:
    """Whether a declared message length is possible at all."""
    return HEADER_BYTES <= length <= limit


_OPENING: Final = struct.Struct("<iiiiIB")  # header, flagBits, and the kind of the first section
_REPLY: Final = struct.Struct("<iiiiiqii")


def build_msg(document: bytes, request_id: int, response_to: int = 0, flags: int = 0) -> bytes:
    """A whole OP_MSG around one kind-0 document (raw BSON)."""
    return _OPENING.pack(_OPENING.size + len(document), request_id, response_to, Opcode.MSG, flags, 0) + document


def build_reply(document: bytes, request_id: int, response_to: int, flags: int = 8) -> bytes:
    """A whole OP_REPLY as mongod answers a command: flags 8 (AwaitCapable), cursor 0, one document."""
    return _REPLY.pack(_REPLY.size + len(document), request_id, response_to, Opcode.REPLY, flags, 0, 0, 1) + document
