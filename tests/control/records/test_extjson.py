"""extjson: the canonical form, the same as the driver's own where the driver can tell the types apart."""

from __future__ import annotations

import json
import uuid
from datetime import UTC

import bson
import pytest
from bson import json_util
from bson.code import Code
from bson.codec_options import CodecOptions
from bson.json_util import CANONICAL_JSON_OPTIONS
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from wardgate.control.records import extjson

_keys = st.text(max_size=6).filter(lambda key: "\0" not in key and not key.startswith("$"))
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 31), (1 << 31) - 1)
    | st.integers(-(1 << 63), (1 << 63) - 1).map(bson.Int64)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.builds(bson.Binary, st.binary(max_size=8), st.sampled_from([0, 1, 5, 6, 7, 128]))
    | st.builds(bson.ObjectId)
    | st.builds(bson.Timestamp, st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
    | st.builds(bson.Regex, st.text("abc.*", max_size=4), st.sampled_from(["", "i", "im"]))
    | st.builds(Code, st.text(max_size=5))
    | (st.decimals(-(10**20), 10**20, places=3) | st.sampled_from(["NaN", "-Infinity"])).map(
        lambda number: bson.Decimal128(number)
    )
    | st.datetimes(timezones=st.just(UTC)).filter(lambda at: 1970 <= at.year < 2100)
    | st.just(bson.MinKey())
    | st.just(bson.MaxKey())
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=10
)


@given(value=st.dictionaries(_keys, _values, max_size=5))
def test_as_the_driver_writes_it(value: dict[str, object]) -> None:
    raw = bson.encode(value)
    decoded: dict[str, object] = bson.decode(raw, CodecOptions(tz_aware=True))
    assert extjson.document(raw) == json.loads(json_util.dumps(decoded, json_options=CANONICAL_JSON_OPTIONS))


def _one(kind: int, value: bytes) -> bytes:
    inner = bytes([kind]) + b"x\0" + value
    return (len(inner) + 5).to_bytes(4, "little") + inner + b"\0"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (_one(0x06, b""), {"$undefined": True}),
        (_one(0x0E, b"\2\0\0\0s\0"), {"$symbol": "s"}),
        (_one(0x0C, b"\2\0\0\0c\0" + bytes(12)), {"$dbPointer": {"$ref": "c", "$id": {"$oid": "0" * 24}}}),
        (_one(0x09, (1 << 62).to_bytes(8, "little")), {"$date": {"$numberLong": str(1 << 62)}}),
        (_one(0x02, b"\3\0\0\0\xff\xfe\0"), "\ufffd\ufffd"),
        (bson.encode({"x": Code("f()", {"a": 1})}), {"$code": "f()", "$scope": {"a": {"$numberInt": "1"}}}),
        (bson.encode({"x": float("nan")}), {"$numberDouble": "NaN"}),
        (bson.encode({"x": float("-inf")}), {"$numberDouble": "-Infinity"}),
        (bson.encode({"x": -0.0}), {"$numberDouble": "-0.0"}),
        (
            bson.encode({"x": bson.Binary.from_uuid(uuid.UUID(int=0))}),
            {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}},
        ),
        (_one(0x05, b"\6\0\0\0\2\2\0\0\0hi"), {"$binary": {"base64": "aGk=", "subType": "02"}}),
    ],
)
def test_what_the_driver_hides(raw: bytes, shown: object) -> None:
    assert extjson.document(raw) == {"x": shown}


def test_documents_in_a_row() -> None:
    raw = bson.encode({"a": 1}) + bson.encode({}) + bson.encode({"b": True})
    assert extjson.documents(raw) == [{"a": {"$numberInt": "1"}}, {}, {"b": True}]


@given(
    data=st.binary(max_size=100)
    | st.builds(lambda d, n: bson.encode({"k": d})[:n], st.binary(max_size=9), st.integers(0, 30))
)
def test_what_is_no_bson_is_a_value_error(data: bytes) -> None:
    try:
        extjson.document(data)
    except ValueError:
        return
    RawBSONDocument(data)


def test_depth_has_an_end() -> None:
    raw = b"\5\0\0\0\0"
    for _ in range(250):
        raw = _one(0x03, raw)
    with pytest.raises(ValueError, match="not BSON"):
        extjson.document(raw)
