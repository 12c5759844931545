from __future__ import annotations

import itertools

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.rawbson.scan import ReplyFacts
from wardgate.wire.message import MORE_TO_COME, build_msg
from wardgate.wire.reader import PieceReader
from wardgate.wire.replies import MessageScanner, scan_message

from .messages import body, message, msg, reply

FOUND = {"cursor": {"firstBatch": [{"_id": i} for i in range(20)], "id": bson.Int64(5), "ns": "a.b"}, "ok": 1.0}
FACTS = ReplyFacts(ok=1.0, batch=20, cursor_id=5)
SHAPES = {
    "msg": build_msg(bson.encode(FOUND), 1, 2),
    "msg with checksum": msg(body(FOUND), checksum=True),
    "reply": reply(FOUND),
}


@pytest.mark.parametrize("raw", SHAPES.values(), ids=SHAPES)
@given(cuts=st.lists(st.integers(0, 1000), max_size=12))
def test_facts_of_a_message_however_it_comes(raw: bytes, cuts: list[int]) -> None:
    assert scan_message(raw) == FACTS
    reader, scanner = PieceReader(48_000_000), MessageScanner()
    places = sorted({cut % (len(raw) + 1) for cut in cuts} | {0, len(raw)})
    for start, end in itertools.pairwise(places):
        for piece in reader.feed(raw[start:end]):
            scanner.feed(piece.data)
    assert scanner.finish() == FACTS
    assert scanner.header is not None
    assert scanner.header.length == len(raw)


def test_more_to_come() -> None:
    scanner = MessageScanner()
    scanner.feed(build_msg(bson.encode(FOUND), 1, 2, MORE_TO_COME))
    assert scanner.more_to_come


@pytest.mark.parametrize(
    "raw",
    [b"", b"short", message(2004, bytes(40)), message(2013, b""), msg(b"\1" + bytes(20)), msg(body(FOUND)[:-1])],
)
def test_what_is_no_reply_is_malformed(raw: bytes) -> None:
    assert scan_message(raw).malformed
    scanner = MessageScanner()
    scanner.feed(raw)
    assert scanner.finish().malformed


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=4))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    scan_message(data)
    scanner = MessageScanner()
    for cut in cuts:
        scanner.feed(data[:cut])
    scanner.finish()
