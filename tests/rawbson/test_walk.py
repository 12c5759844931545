from __future__ import annotations

import contextlib
import datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from hypothesis import example, given
from hypothesis import strategies as st

from wardgate.rawbson import walk
from wardgate.rawbson.walk import BsonError, DepthError, DuplicateKeyError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.builds(Binary, st.binary(max_size=8), st.sampled_from([2, 4, 5, 6, 128])),
    st.sampled_from([
        ObjectId(), MinKey(), MaxKey(), Regex("a.*", "i"), Code("f()"), Code("f()", {"x": 1}), Timestamp(1, 2),
        Decimal128("1.5"), Int64(1), DBRef("c", 1), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    ]),
)  # fmt: skip
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=8)

# One value of each deprecated type, which pymongo can't write.
DEPRECATED = {
    "undefined": b"\x06u\0",
    "symbol": b"\x0es\0\x04\0\0\0abc\0",
    "dbpointer": b"\x0cp\0\x02\0\0\0c\0" + bytes(12),
}


def raw(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return (len(content) + 5).to_bytes(4, "little") + content + b"\0"


def nested(depth: int) -> bytes:
    document = raw()
    for _ in range(depth - 1):
        document = raw(b"\x03a\0" + document)
    return document


@given(DOCUMENTS)
def test_what_pymongo_writes_is_valid_and_walked(document: dict[str, Any]) -> None:
    data = bson.encode(document)
    walk.validate(data)
    names = [name.decode() for _, name, _, _ in walk.elements(data)]
    assert names == list(bson.decode(data))  # PyMongo writes _id first
    assert list(walk.top_level(data)) == [name.encode() for name in names]
    assert walk.fields(data, 0, len(data)) == walk.top_level(data)
    for name in names:
        found = walk.find(data, name.encode())
        assert found is not None
        kind, start, end = found
        again = raw(bytes((kind,)) + name.encode() + b"\0" + data[start:end])
        assert bson.decode(again).keys() == {name}


@pytest.mark.parametrize("element", DEPRECATED.values(), ids=DEPRECATED)
def test_deprecated_types(element: bytes) -> None:
    data = raw(element, b"\x10n\0\x07\0\0\0")
    walk.validate(data)
    assert [name for _, name, _, _ in walk.elements(data)] == [element[1:2], b"n"]


@given(DOCUMENTS, st.integers(0), st.integers(0, 255))
def test_one_wrong_byte_raises_only_bson_errors(document: dict[str, Any], place: int, value: int) -> None:
    data = bytearray(bson.encode(document))
    data[place % len(data)] = value
    try:
        walk.validate(bytes(data))
    except BsonError:
        return
    # What passes has one reading: walking it agrees with itself all the way down.
    stack = [(0, len(data))]
    while stack:
        start, end = stack.pop()
        for kind, _, value_start, value_end in walk.elements(bytes(data), start, end):
            if kind in (walk.DOCUMENT, walk.ARRAY):
                stack.append((value_start, value_end))


@given(st.binary(max_size=300))
@example(b"\x05\0\0\0\0")
@example(b"\xff\xff\xff\x7f\x03a\0")
def test_any_bytes_raise_only_bson_errors(data: bytes) -> None:
    for call in (walk.validate, walk.top_level, walk.first_key, lambda d: walk.find(d, b"x")):
        with contextlib.suppress(BsonError):
            call(data)


@given(DOCUMENTS, st.integers(0))
def test_a_cut_document_is_refused(document: dict[str, Any], place: int) -> None:
    data = bson.encode(document)
    with pytest.raises(BsonError):
        walk.validate(data[: place % len(data)])


@pytest.mark.parametrize(
    "data",
    [
        raw(b"\x02s\0\0\0\0\0"),  # a string of length 0
        raw(b"\x02s\0\x02\0\0\0ab"),  # a string without its zero
        raw(b"\x02s\0\xff\xff\xff\xff"),
        raw(b"\x08b\0\x02"),  # neither true nor false
        raw(b"\x05b\0\xff\xff\xff\xff\0"),
        raw(b"\x05b\0\x08\0\0\0\x02\x09\0\0\0abcd"),  # the old binary's inner length
        raw(b"\x14x\0"),  # no such type
        raw(b"\x03d\0\x04\0\0\0\0"),
        raw(b"\x03d\0" + raw() + b"\0"),
        raw(b"\x0bxa\0"),
        raw(b"\x0fc\0\x10\0\0\0\x01\0\0\0\0\x06\0\0\0\0\0"),
        raw(b"\x10nameless"),
        raw() + b"\0",
        b"",
    ],
)  # fmt: skip
def test_each_lie_is_refused(data: bytes) -> None:
    with pytest.raises(BsonError):
        walk.validate(data)


def test_depth() -> None:
    walk.validate(nested(180))
    with pytest.raises(DepthError):
        walk.validate(nested(181))
    with pytest.raises(DepthError):
        walk.validate(nested(5_000))
    walk.validate(nested(3), max_depth=3)


def test_scopes_are_a_level_too() -> None:
    scope = nested(180)
    value = b"\x02\0\0\0x\0" + scope
    with pytest.raises(DepthError):
        walk.validate(raw(b"\x0fc\0" + (len(value) + 4).to_bytes(4, "little") + value))


def test_repeated_keys_are_named() -> None:
    with pytest.raises(DuplicateKeyError) as caught:
        walk.top_level(raw(b"\x0aa\0", b"\x0ab\0", b"\x0aa\0"))
    assert caught.value.name == "a"


def test_a_document_within_a_buffer() -> None:
    inner = bson.encode({"a": 1})
    data = b"xx" + inner + b"yy"
    walk.validate(data, 2, 2 + len(inner))
    assert walk.first_key(data, 2, 2 + len(inner)) == b"a"
    assert walk.document_end(data, 2, len(data)) == 2 + len(inner)


def test_numbers() -> None:
    data = bson.encode(
        {"i": 5, "l": Int64(2**40), "d": 2.9, "nan": float("nan"), "inf": float("-inf"), "s": "x", "b": True}
    )
    fields = walk.top_level(data)
    values = {name.decode(): walk.integer(data, kind, start) for name, (kind, start, _) in fields.items()}
    assert values == {"i": 5, "l": 2**40, "d": 2, "nan": None, "inf": None, "s": None, "b": None}
    kind, start, _ = fields[b"b"]
    assert walk.number(data, kind, start) == 1.0


def test_text() -> None:
    data = bson.encode({"s": "grün"})
    _, start, end = walk.top_level(data)[b"s"]
    assert walk.text(data, start, end) == "grün"
    broken = data.replace("ü".encode(), b"\xff\xff")
    with pytest.raises(BsonError):
        walk.text(broken, start, end)


def test_raw_documents_agree() -> None:
    inner = RawBSONDocument(bson.encode({"x": [1, 2, {"y": None}]}))
    walk.validate(bson.encode({"inner": inner}))
