from __future__ import annotations

import itertools
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.rawbson.scan import ERRMSG_BYTES, ReplyFacts, ReplyScanner, scan

TAIL: dict[str, Any] = {"ok": 1.0, "operationTime": bson.Timestamp(1, 1)}


def in_pieces(data: bytes, cuts: list[int]) -> ReplyFacts:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    scanner = ReplyScanner()
    for start, end in itertools.pairwise(places):
        scanner.feed(data[start:end])
    return scanner.finish()


def reply(batch: list[dict[str, Any]], which: str = "firstBatch", cursor: int = 0) -> dict[str, Any]:
    return {"cursor": {which: batch, "id": bson.Int64(cursor), "ns": "shop.orders"}, **TAIL}


REPLIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "find": (reply([{"_id": 1}, {"_id": 2, "x": "y" * 50}], cursor=7), {"ok": 1.0, "batch": 2, "cursor_id": 7}),
    "nothing found": (reply([]), {"ok": 1.0, "batch": 0, "cursor_id": 0}),
    "getMore": (reply([{}] * 101, "nextBatch", 2**60), {"ok": 1.0, "batch": 101, "cursor_id": 2**60}),
    "insert": ({"n": 3, **TAIL}, {"ok": 1.0, "n": 3}),
    "update": ({"n": 3, "nModified": 2, **TAIL}, {"ok": 1.0, "n": 3, "n_modified": 2}),
    "upserts": (
        {"n": 14, "nModified": 2, "upserted": [{"index": i, "_id": i} for i in range(11)], **TAIL},
        {"ok": 1.0, "n": 14, "n_modified": 2, "upserted": 11},
    ),
    "an upsert that is no array": (
        {"lastErrorObject": {"n": 1, "upserted": 5}, "upserted": 5, **TAIL},
        {"ok": 1.0, "n": 1},
    ),
    "count in a double": ({"n": 3.0, "ok": True}, {"ok": 1.0, "n": 3}),
    "findAndModify": (
        {"lastErrorObject": {"n": 1, "updatedExisting": True}, "value": {"a": 1}, **TAIL},
        {"ok": 1.0, "n": 1},
    ),
    "write errors": (
        {"n": 0, "writeErrors": [{"index": i, "code": 11000 + i, "errmsg": "dup"} for i in range(12)], "ok": 1.0},
        {"ok": 1.0, "n": 0, "write_errors": 12, "write_error_code": 11000},
    ),
    "write concern": (
        {"n": 1, "writeConcernError": {"code": 64, "errmsg": "slow"}, "ok": 1},
        {"ok": 1.0, "n": 1, "write_concern_code": 64},
    ),
    "refusal": (
        {"ok": 0.0, "errmsg": "not authorized", "code": 13, "codeName": "Unauthorized"},
        {"ok": 0.0, "errmsg": "not authorized", "code": 13, "code_name": "Unauthorized"},
    ),
    "numbers of no use": ({"n": float("nan"), "code": float("inf"), "ok": "yes", "cursor": 5}, {}),
    "nested lookalikes": ({"a": {"ok": 0, "cursor": {"firstBatch": [{}]}}, "ok": 1}, {"ok": 1.0}),
}


@pytest.mark.parametrize("name", REPLIES)
@given(cuts=st.lists(st.integers(0, 5000), max_size=30))
def test_facts_however_cut(name: str, cuts: list[int]) -> None:
    document, facts = REPLIES[name]
    expected = ReplyFacts(**facts)
    data = bson.encode(document)
    assert scan(data) == expected
    assert in_pieces(data, cuts) == expected
    assert in_pieces(data, list(range(len(data)))) == expected


def test_documents_is_the_batch_else_n() -> None:
    assert ReplyFacts(n=3).documents == 3
    assert ReplyFacts(n=3, batch=0).documents == 0
    assert ReplyFacts().documents is None


def test_a_part_of_a_buffer() -> None:
    data = bson.encode({"n": 4, "ok": 1.0})
    assert scan(b"head" + data + b"sum!", 4, 4 + len(data)) == scan(data)


def test_a_long_error_text_is_cut() -> None:
    data = bson.encode({"ok": 0.0, "errmsg": "é" * 5000, "code": 8})
    for facts in (scan(data), in_pieces(data, list(range(0, len(data), 7)))):
        assert facts.code == 8
        assert facts.errmsg == "é" * (ERRMSG_BYTES // 2)


@given(size=st.integers(0, 1200), piece=st.integers(1, 5000), pad=st.integers(0, 300))
def test_batches_of_any_size_in_pieces_of_any_size(size: int, piece: int, pad: int) -> None:
    data = bson.encode(reply([{"_id": i, "x": b"\0" * (pad * (i % 3))} for i in range(size)]))
    scanner = ReplyScanner()
    for start in range(0, len(data), piece):
        scanner.feed(data[start : start + piece])
        assert len(scanner._tail) < 64, "a scanner keeps heads, never documents"
    facts = scanner.finish()
    assert facts.malformed is None
    assert facts.documents == size


def test_a_batch_of_things_that_are_no_documents() -> None:
    data = bson.encode({"cursor": {"firstBatch": [1, {}, "x", {}, {}], "id": bson.Int64(0)}, "ok": 1.0})
    assert scan(data).batch == 5


@given(
    name=st.sampled_from(sorted(REPLIES)),
    place=st.integers(0, 4000),
    value=st.integers(0, 255),
    cuts=st.lists(st.integers(0, 5000), max_size=5),
)
def test_one_wrong_byte_raises_nothing_and_reads_alike(name: str, place: int, value: int, cuts: list[int]) -> None:
    data = bytearray(bson.encode(REPLIES[name][0]))
    data[place % len(data)] = value
    whole, cut = scan(bytes(data)), in_pieces(bytes(data), cuts)
    assert (whole.malformed is None) == (cut.malformed is None)
    if whole.malformed is None:
        assert whole == cut


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    assert (scan(data).malformed is None) == (in_pieces(data, cuts).malformed is None)


@pytest.mark.parametrize("length", range(1, 40, 3))
def test_a_cut_document_is_malformed(length: int) -> None:
    data = bson.encode({"n": 1, "errmsg": "something", "ok": 1.0})
    assert scan(data[:length]).malformed


def test_bytes_behind_the_document_are_malformed() -> None:
    data = bson.encode({"ok": 1.0}) + b"\0"
    assert scan(data).malformed
    assert in_pieces(data, [len(data) - 1]).malformed


def test_a_lying_batch_is_malformed() -> None:
    data = bytearray(bson.encode(reply([{"_id": i} for i in range(20)])))
    place = data.index(b"5\0") + 2  # the length of document 5
    data[place : place + 4] = (10_000).to_bytes(4, "little")
    assert scan(bytes(data)).malformed
    assert in_pieces(bytes(data), [100, 200]).malformed
