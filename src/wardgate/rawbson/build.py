"""Putting raw BSON together from raw parts: the little that editing and answering need.

For documents of our own making `bson.encode` is fine; this file is for documents whose other parts must stay byte for
byte as they came.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from . import walk

_LENGTH = struct.Struct("<i").pack


def document(parts: Iterable[bytes]) -> bytes:
    """A document of elements that are encoded already."""
    content = b"".join(parts)
    return _LENGTH(len(content) + 5) + content + b"\0"


def element(kind: int, name: bytes, value: bytes) -> bytes:
    """One element. `name` must hold no zero byte: callers pass names that were read from BSON, or their own."""
    return bytes((kind,)) + name + b"\0" + value


def string(name: bytes, value: str) -> bytes:
    """A string element."""
    data = value.encode()
    return element(walk.STRING, name, _LENGTH(len(data) + 1) + data + b"\0")


def strings(name: bytes, values: Iterable[str]) -> bytes:
    """An array of strings."""
    return element(walk.ARRAY, name, document(string(b"%d" % i, value) for i, value in enumerate(values)))


def int32(name: bytes, value: int) -> bytes:
    """A 32-bit integer element."""
    return element(walk.INT32, name, _LENGTH(value))


def double(name: bytes, value: float) -> bytes:
    """A floating point element: MongoDB's own type for `ok`."""
    return element(walk.DOUBLE, name, struct.pack("<d", value))


def boolean(name: bytes, value: bool) -> bytes:
    """A boolean element."""
    return element(walk.BOOLEAN, name, b"\1" if value else b"\0")


def binary(name: bytes, value: bytes, subtype: int = 0) -> bytes:
    """A binary element."""
    return element(walk.BINARY, name, _LENGTH(len(value)) + bytes((subtype,)) + value)
