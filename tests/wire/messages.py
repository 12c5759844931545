"""Builders of raw messages for the tests of this room and its neighbours: also of ones that no driver would send."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import bson
import google_crc32c

from wardgate.wire.header import HEADER, Opcode


def message(opcode: int, rest: bytes, request_id: int = 7, response_to: int = 0) -> bytes:
    return HEADER.pack(16 + len(rest), request_id, response_to, opcode) + rest


def body(document: Mapping[str, Any] | bytes) -> bytes:
    return b"\0" + (document if isinstance(document, bytes) else bson.encode(document))


def sequence(identifier: str, *documents: Mapping[str, Any] | bytes) -> bytes:
    data = b"".join(d if isinstance(d, bytes) else bson.encode(d) for d in documents)
    name = identifier.encode() + b"\0"
    return b"\1" + struct.pack("<i", 4 + len(name) + len(data)) + name + data


def msg(*sections: bytes, flags: int = 0, request_id: int = 7, checksum: bool = False) -> bytes:
    rest = struct.pack("<I", flags | checksum) + b"".join(sections)
    if not checksum:
        return message(Opcode.MSG, rest, request_id)
    whole = message(Opcode.MSG, rest + b"\0\0\0\0", request_id)
    return whole[:-4] + struct.pack("<I", google_crc32c.value(whole[:-4]))


def command(document: Mapping[str, Any], *, flags: int = 0, request_id: int = 7) -> bytes:
    return msg(body(document), flags=flags, request_id=request_id)


def query(
    document: Mapping[str, Any], namespace: str = "admin.$cmd", *, selector: bytes = b"", request_id: int = 7
) -> bytes:
    head = struct.pack("<I", 4) + namespace.encode() + b"\0" + struct.pack("<ii", 0, -1)
    return message(Opcode.QUERY, head + bson.encode(document) + selector, request_id)


def reply(document: Mapping[str, Any], *, request_id: int = 9, response_to: int = 7) -> bytes:
    return message(Opcode.REPLY, struct.pack("<Iqii", 8, 0, 0, 1) + bson.encode(document), request_id, response_to)
