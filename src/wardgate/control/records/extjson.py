"""Raw BSON as canonical Extended JSON (v2), for showing what was recorded.

It walks the bytes instead of decoding them to Python's types, so that every type shows as what it is: an int32 is not
an int64, NaN and infinities have their form, undefined, symbol, DBPointer and dates beyond year 9999 too. What is no
proper UTF-8 is shown with replacement characters. A key that occurs twice in one document shows its last value: JSON
objects, as our API has them, hold no more.

Source: github.com/mongodb/specifications, extended-json. Bodies were checked for depth and form before they were
recorded; ValueError for what is still no BSON.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bson.decimal128 import Decimal128

_I32 = struct.Struct("<i")
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_U32_PAIR = struct.Struct("<II")
_DEPTH: Final = 200  # more than what the gateway lets pass

_Value = tuple[Any, int]


def document(raw: bytes) -> dict[str, Any]:
    """The canonical form of one BSON document."""
    try:
        value, end = _document(raw, 0, 0)
    except (IndexError, struct.error, RecursionError) as error:
        raise ValueError("not BSON") from error
    if end != len(raw):
        raise ValueError("bytes behind a BSON document")
    return value


def documents(raw: bytes) -> list[dict[str, Any]]:
    """The canonical forms of concatenated documents."""
    found, at = [], 0
    try:
        while at < len(raw):
            value, at = _document(raw, at, 0)
            found.append(value)
    except (IndexError, struct.error, RecursionError) as error:
        raise ValueError("not BSON") from error
    return found


def _document(raw: bytes, at: int, depth: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    end = _walk(raw, at, depth, lambda name, value: fields.__setitem__(name, value))
    return fields, end


def _array(raw: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    end = _walk(raw, at, depth, lambda name, value: items.append(value))
    return items, end


def _walk(raw: bytes, at: int, depth: int, take: Callable[[str, Any], None]) -> int:
    size: int = _I32.unpack_from(raw, at)[0]
    end = at + size
    if size < 5 or end > len(raw) or raw[end - 1] != 0 or depth > _DEPTH:
        raise ValueError("not BSON")
    at += 4
    while at < end - 1:
        kind = raw[at]
        name, at = _cstring(raw, at + 1)
        reader = _READERS.get(kind)
        if reader is None:
            raise ValueError(f"unknown BSON type {kind}")
        value, at = reader(raw, at, depth + 1)
        take(name, value)
    if at != end - 1:
        raise ValueError("not BSON")
    return end


def _cstring(raw: bytes, at: int) -> tuple[str, int]:
    end = raw.index(0, at)
    return raw[at:end].decode("utf-8", "replace"), end + 1


def _string(raw: bytes, at: int, depth: int) -> tuple[str, int]:
    size = _I32.unpack_from(raw, at)[0]
    end = at + 4 + size
    if size < 1 or end > len(raw):
        raise ValueError("not BSON")
    return raw[at + 4 : end - 1].decode("utf-8", "replace"), end


def _double(raw: bytes, at: int, depth: int) -> _Value:
    number = _F64.unpack_from(raw, at)[0]
    if math.isnan(number):
        text = "NaN"
    elif math.isinf(number):
        text = "Infinity" if number > 0 else "-Infinity"
    else:
        text = repr(number)
    return {"$numberDouble": text}, at + 8


def _binary(raw: bytes, at: int, depth: int) -> _Value:
    size = _I32.unpack_from(raw, at)[0]
    start, end = at + 5, at + 5 + size
    if size < 0 or end > len(raw):
        raise ValueError("not BSON")
    subtype = raw[at + 4]
    if subtype == 2 and size >= 4:  # the old form repeats its length
        start += 4
    return {"$binary": {"base64": base64.b64encode(raw[start:end]).decode(), "subType": f"{subtype:02x}"}}, end


def _object_id(raw: bytes, at: int, depth: int) -> _Value:
    if at + 12 > len(raw):
        raise ValueError("not BSON")
    return {"$oid": raw[at : at + 12].hex()}, at + 12


def _boolean(raw: bytes, at: int, depth: int) -> _Value:
    return raw[at] != 0, at + 1


def _date(raw: bytes, at: int, depth: int) -> _Value:
    return {"$date": {"$numberLong": str(_I64.unpack_from(raw, at)[0])}}, at + 8


def _regex(raw: bytes, at: int, depth: int) -> _Value:
    pattern, at = _cstring(raw, at)
    options, at = _cstring(raw, at)
    return {"$regularExpression": {"pattern": pattern, "options": "".join(sorted(options))}}, at


def _db_pointer(raw: bytes, at: int, depth: int) -> _Value:
    name, at = _string(raw, at, depth)
    identity, at = _object_id(raw, at, depth)
    return {"$dbPointer": {"$ref": name, "$id": identity}}, at


def _code(raw: bytes, at: int, depth: int) -> _Value:
    text, at = _string(raw, at, depth)
    return {"$code": text}, at


def _symbol(raw: bytes, at: int, depth: int) -> _Value:
    text, at = _string(raw, at, depth)
    return {"$symbol": text}, at


def _scoped_code(raw: bytes, at: int, depth: int) -> _Value:
    text, inner = _string(raw, at + 4, depth)
    scope, end = _document(raw, inner, depth)
    if end != at + _I32.unpack_from(raw, at)[0]:
        raise ValueError("not BSON")
    return {"$code": text, "$scope": scope}, end


def _int32(raw: bytes, at: int, depth: int) -> _Value:
    return {"$numberInt": str(_I32.unpack_from(raw, at)[0])}, at + 4


def _timestamp(raw: bytes, at: int, depth: int) -> _Value:
    increment, seconds = _U32_PAIR.unpack_from(raw, at)
    return {"$timestamp": {"t": seconds, "i": increment}}, at + 8


def _int64(raw: bytes, at: int, depth: int) -> _Value:
    return {"$numberLong": str(_I64.unpack_from(raw, at)[0])}, at + 8


def _decimal(raw: bytes, at: int, depth: int) -> _Value:
    if at + 16 > len(raw):
        raise ValueError("not BSON")
    return {"$numberDecimal": str(Decimal128.from_bid(raw[at : at + 16]))}, at + 16


def _constant(value: Any) -> Callable[[bytes, int, int], _Value]:
    return lambda raw, at, depth: (value, at)


_READERS: Final[dict[int, Callable[[bytes, int, int], _Value]]] = {
    0x01: _double,
    0x02: _string,
    0x03: _document,
    0x04: _array,
    0x05: _binary,
    0x06: _constant({"$undefined": True}),
    0x07: _object_id,
    0x08: _boolean,
    0x09: _date,
    0x0A: _constant(None),
    0x0B: _regex,
    0x0C: _db_pointer,
    0x0D: _code,
    0x0E: _symbol,
    0x0F: _scoped_code,
    0x10: _int32,
    0x11: _timestamp,
    0x12: _int64,
    0x13: _decimal,
    0x7F: _constant({"$maxKey": 1}),
    0xFF: _constant({"$minKey": 1}),
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at_us: int) -> datetime:
    """Microseconds of Unix time as a datetime, held within what one can be."""
    return _EPOCH + timedelta(microseconds=max(0, min(at_us, 250_000_000_000_000_000)))
