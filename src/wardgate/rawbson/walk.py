"""A walk over raw BSON: elements as offsets, one level at a time, and a strict check of a whole document.

What it is not: a decoder. Values stay bytes but for the few scalar readers at the end. All types of the BSON
specification are known, the deprecated ones too, because a server still takes them.

Law: nothing here reads outside data[start:end], recurses, or raises anything but `BsonError` for what the bytes are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray

DOUBLE: Final = 0x01
STRING: Final = 0x02
DOCUMENT: Final = 0x03
ARRAY: Final = 0x04
BINARY: Final = 0x05
UNDEFINED: Final = 0x06
OBJECT_ID: Final = 0x07
BOOLEAN: Final = 0x08
DATETIME: Final = 0x09
NULL: Final = 0x0A
REGEX: Final = 0x0B
DB_POINTER: Final = 0x0C
CODE: Final = 0x0D
SYMBOL: Final = 0x0E
CODE_WITH_SCOPE: Final = 0x0F
INT32: Final = 0x10
TIMESTAMP: Final = 0x11
INT64: Final = 0x12
DECIMAL128: Final = 0x13
MAX_KEY: Final = 0x7F
MIN_KEY: Final = 0xFF

MIN_DOCUMENT: Final = 5
MAX_DEPTH: Final = 180  # of mongod too (BSONDepth's default is 180 for what users send)

Element: TypeAlias = tuple[int, bytes, int, int]
"""(type, name, start of the value, end of the value)."""

# Shapes of values whose length is not fixed; fixed ones stand in the table as their length.
_STRING, _DOCUMENT, _BINARY, _REGEX, _POINTER, _SCOPE, _UNKNOWN = -1, -2, -3, -4, -5, -6, -7


def _shapes() -> tuple[int, ...]:
    shapes = [_UNKNOWN] * 256
    for fixed, types in {
        0: (UNDEFINED, NULL, MAX_KEY, MIN_KEY),
        1: (BOOLEAN,),
        4: (INT32,),
        8: (DOUBLE, DATETIME, TIMESTAMP, INT64),
        12: (OBJECT_ID,),
        16: (DECIMAL128,),
        _STRING: (STRING, CODE, SYMBOL),
        _DOCUMENT: (DOCUMENT, ARRAY),
        _BINARY: (BINARY,),
        _REGEX: (REGEX,),
        _POINTER: (DB_POINTER,),
        _SCOPE: (CODE_WITH_SCOPE,),
    }.items():
        for kind in types:
            shapes[kind] = fixed
    return tuple(shapes)


_SHAPE: Final = _shapes()
_INT32: Final = struct.Struct("<i").unpack_from
_INT64: Final = struct.Struct("<q").unpack_from
_DOUBLE: Final = struct.Struct("<d").unpack_from

# A run of elements of fixed length, swallowed in C: arrays of numbers and flat rows are mostly such runs.
_RUN: Final = re.compile(
    rb"(?s:(?:[\x01\x09\x11\x12][^\0]*+\0.{8}|\x10[^\0]*+\0.{4}|\x07[^\0]*+\0.{12}|\x08[^\0]*+\0[\0\1]"
    rb"|[\x06\x0a\x7f\xff][^\0]*+\0|\x13[^\0]*+\0.{16})++)"
).match


class BsonError(ValueError):
    """The bytes are not a BSON document. The text never quotes them."""


class DepthError(BsonError):
    """The document is sound as far as it was read, but nested too deeply."""


class DuplicateKeyError(BsonError):
    """A key stands twice at the top level. `name` is that key."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the field {name!r} stands twice")
        self.name = name


def document_end(data: Buffer, start: int, end: int) -> int:
    """Where the document that begins at `start` ends, checked against `end`, with its closing zero byte."""
    if end - start < MIN_DOCUMENT:
        raise BsonError("a document is shorter than five bytes")
    length = _INT32(data, start)[0]
    stop: int = start + length
    if length < MIN_DOCUMENT or stop > end:
        raise BsonError("a document's length is impossible")
    if data[stop - 1]:
        raise BsonError("a document has no end")
    return stop


def value_end(data: Buffer, kind: int, start: int, end: int) -> int:
    """Where a value of type `kind` that begins at `start` ends; at most `end`."""
    shape = _SHAPE[kind]
    try:
        if shape >= 0:
            stop = start + shape
        elif shape == _STRING:
            stop = _string_end(data, start)
        elif shape == _DOCUMENT:
            return document_end(data, start, end)
        else:
            stop = _odd_end(data, shape, start)
    except (ValueError, IndexError, struct.error) as error:
        raise BsonError("a value is cut") from error
    if stop > end:
        raise BsonError("a value is cut")
    return stop


def value_length(data: Buffer, kind: int, start: int, end: int) -> int:
    """The declared length of a value whose first bytes are in data[start:end]; -1 where these do not tell it yet.

    Only the shape is read, so that a value can be stepped over before it has come. Raises nothing.
    """
    shape = _SHAPE[kind]
    if shape >= 0:
        return shape
    if shape == _REGEX:
        first = data.find(0, start, end)
        second = data.find(0, first + 1, end) if first >= 0 else -1
        return second + 1 - start if second >= 0 else -1
    if end - start < 4 or shape == _UNKNOWN:
        return -1
    length: int = _INT32(data, start)[0]
    if shape in (_DOCUMENT, _SCOPE):
        return length if length >= MIN_DOCUMENT else -1
    if shape == _BINARY:
        return length + 5 if length >= 0 else -1
    if length < 1:
        return -1
    return length + 4 if shape == _STRING else length + 16


def _string_end(data: Buffer, start: int) -> int:
    length: int = _INT32(data, start)[0]
    stop = start + 4 + length
    if length < 1 or data[stop - 1]:
        raise BsonError("a string has no end")
    return stop


def _odd_end(data: Buffer, shape: int, start: int) -> int:
    if shape == _BINARY:
        length: int = _INT32(data, start)[0]
        if length < 0:
            raise BsonError("a binary's length is impossible")
        if data[start + 4] == 2 and (length < 4 or _INT32(data, start + 5)[0] != length - 4):
            raise BsonError("an old binary's two lengths do not agree")
        return start + 5 + length
    if shape == _REGEX:
        return data.index(0, data.index(0, start) + 1) + 1
    if shape == _POINTER:
        return _string_end(data, start) + 12
    if shape == _SCOPE:
        length = _INT32(data, start)[0]
        scope = _string_end(data, start + 4)
        stop: int = start + length
        if length < 14 or document_end(data, scope, stop) != stop:
            raise BsonError("code with scope has lengths that do not agree")
        return stop
    raise BsonError("an element's type is unknown")


def elements(data: Buffer, start: int = 0, end: int | None = None) -> Iterator[Element]:
    """The elements of the document at data[start:end], one level. Checks every length it steps over."""
    last = document_end(data, start, len(data) if end is None else end) - 1
    pos = start + 4
    while pos < last:
        kind = data[pos]
        try:
            name_end = data.index(0, pos + 1, last)
        except ValueError as error:
            raise BsonError("a field name has no end") from error
        stop = value_end(data, kind, name_end + 1, last)
        yield kind, bytes(data[pos + 1 : name_end]), name_end + 1, stop
        pos = stop
    if data[last]:
        raise BsonError("a document has no end")


def first_key(data: Buffer, start: int = 0, end: int | None = None) -> bytes | None:
    """The name of the first element; None for an empty document."""
    for _, name, _, _ in elements(data, start, end):
        return name
    return None


def find(data: Buffer, name: bytes, start: int = 0, end: int | None = None) -> tuple[int, int, int] | None:
    """(type, start, end) of the first top-level value called `name`."""
    for kind, key, value, stop in elements(data, start, end):
        if key == name:
            return kind, value, stop
    return None


def top_level(data: Buffer, start: int = 0, end: int | None = None) -> dict[bytes, tuple[int, int, int]]:
    """name → (type, start, end), in order. Raises DuplicateKeyError: a server would take the first or the last one."""
    fields: dict[bytes, tuple[int, int, int]] = {}
    for kind, name, value, stop in elements(data, start, end):
        if name in fields:
            raise DuplicateKeyError(name.decode("utf-8", "backslashreplace"))
        fields[name] = (kind, value, stop)
    return fields


def fields(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, int, int]]:
    """`top_level` for a document that `validate` has passed: steps by declared lengths and checks no more than that."""
    found: dict[bytes, tuple[int, int, int]] = {}
    last = end - 1
    pos = start + 4
    find = data.find
    shapes = _SHAPE
    while pos < last:
        kind = data[pos]
        value = find(0, pos + 1, last) + 1
        size = shapes[kind]
        if size < 0:
            size = value_length(data, kind, value, last)
        stop = value + size
        if not pos < value <= stop <= last:
            raise BsonError("a value is cut")
        name = data[pos + 1 : value - 1]
        if name in found:
            raise DuplicateKeyError(name.decode("utf-8", "backslashreplace"))
        found[name] = (kind, value, stop)
        pos = stop
    return found


def listed(data: bytes, start: int, end: int) -> list[Element]:
    """`elements` of a document that `validate` has passed, in half the time: steps by declared lengths."""
    found: list[Element] = []
    last = end - 1
    pos = start + 4
    find = data.find
    shapes = _SHAPE
    while pos < last:
        kind = data[pos]
        value = find(0, pos + 1, last) + 1
        size = shapes[kind]
        if size < 0:
            size = value_length(data, kind, value, last)
        stop = value + size
        if not pos < value <= stop <= last:
            raise BsonError("a value is cut")
        found.append((kind, data[pos + 1 : value - 1], value, stop))
        pos = stop
    return found


def validate(data: Buffer, start: int = 0, end: int | None = None, *, max_depth: int = MAX_DEPTH) -> None:
    """Check the whole structure of the one document at data[start:end]: lengths, terminators, types, depth.

    Text is not checked for UTF-8 (a server takes any bytes there), nor array keys for being counted. Scopes of
    code-with-scope count as a level. Raises BsonError or DepthError.
    """
    end = len(data) if end is None else end
    if document_end(data, start, end) != end:
        raise BsonError("bytes follow a document")
    try:
        _check(data, start, end, max_depth)
    except (ValueError, IndexError, struct.error) as error:
        if isinstance(error, BsonError):
            raise
        raise BsonError("a value is cut") from error


def _check(data: Buffer, start: int, end: int, max_depth: int) -> None:
    # One loop and a stack of levels. `last` is the place of the closing zero of the level under way: whatever steps
    # beyond it is seen at the next turn, so that values need no bound check of their own.
    index = data.index
    int32 = _INT32
    shapes = _SHAPE
    outer: list[int] = []
    last = end - 1
    pos = start + 4
    while True:
        if pos >= last:
            if pos != last or data[last]:
                raise BsonError("a document's elements do not fill it")
            if not outer:
                return
            pos = last + 1
            last = outer.pop()
            continue
        kind = data[pos]
        shape = shapes[kind]
        if shape >= 0:
            run = _RUN(data, pos, last)
            if run is None:
                raise BsonError("a value is cut")
            pos = run.end()
            continue
        value = index(0, pos + 1) + 1
        if shape == _STRING:
            length = int32(data, value)[0]
            pos = value + 4 + length
            if length < 1 or data[pos - 1]:
                raise BsonError("a string has no end")
        elif shape in (_DOCUMENT, _SCOPE):
            if shape == _SCOPE:
                pos = _odd_end(data, _SCOPE, value)  # checks that code and scope fill the value
                value = _string_end(data, value + 4)
            length = int32(data, value)[0]
            if length < MIN_DOCUMENT or value + length > last:
                raise BsonError("a document's length is impossible")
            outer.append(last)
            if len(outer) >= max_depth:
                raise DepthError(f"a document is nested deeper than {max_depth} levels")
            last = value + length - 1
            pos = value + 4
        else:
            pos = _odd_end(data, shape, value)


def text(data: Buffer, start: int, end: int) -> str:
    """A string's value. Raises BsonError where it is not UTF-8."""
    try:
        return data[start + 4 : end - 1].decode()
    except UnicodeDecodeError as error:
        raise BsonError("a string is not UTF-8") from error


def integer(data: Buffer, kind: int, start: int) -> int | None:
    """A number's value as an integer, truncated as MongoDB truncates it; None for what is no finite number."""
    if kind == INT32:
        return int(_INT32(data, start)[0])
    if kind == INT64:
        return int(_INT64(data, start)[0])
    if kind == DOUBLE:
        number = _DOUBLE(data, start)[0]
        return int(number) if abs(number) < 2**63 else None
    return None


def number(data: Buffer, kind: int, start: int) -> float | None:
    """A number's value; booleans count as 0 and 1, as MongoDB takes them for `ok`."""
    if kind == DOUBLE:
        return float(_DOUBLE(data, start)[0])
    if kind == BOOLEAN:
        return float(data[start])
    value = integer(data, kind, start)
    return None if value is None else float(value)
