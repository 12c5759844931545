"""Requests as a client would send them, parsed."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import bson

from wardgate.command.facts import Command, parse
from wardgate.wire.header import HEADER, Opcode
from wardgate.wire.message import build_msg, parse_request

Sections: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]


def command(document: Mapping[str, Any], database: str = "shop", sequences: Sections | None = None) -> Command:
    """The facts of an OP_MSG with these kind-1 sections."""
    body = bson.encode({**document, "$db": database})
    if not sequences:
        return parse(parse_request(build_msg(body, 7)))
    rest = struct.pack("<I", 0) + b"\0" + body
    for name, documents in sequences.items():
        data = name.encode() + b"\0" + b"".join(bson.encode(d) for d in documents)
        rest += b"\1" + struct.pack("<i", len(data) + 4) + data
    return parse(parse_request(HEADER.pack(16 + len(rest), 7, 0, Opcode.MSG) + rest))


def raw_command(*elements: bytes) -> Command:
    """The facts of an OP_MSG whose body has exactly these elements."""
    content = b"".join(elements)
    return parse(parse_request(build_msg(struct.pack("<i", len(content) + 5) + content + b"\0", 7)))


def query(document: Mapping[str, Any], namespace: str = "admin.$cmd") -> Command:
    """The facts of an OP_QUERY."""
    rest = struct.pack("<I", 0) + namespace.encode() + b"\0" + struct.pack("<ii", 0, -1) + bson.encode(document)
    return parse(parse_request(HEADER.pack(16 + len(rest), 7, 0, Opcode.QUERY) + rest))
