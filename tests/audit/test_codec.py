"""codec: what goes in comes out, whatever it is, and what comes out of hostile text is still BSON."""

from __future__ import annotations

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.audit import codec
from wardgate.audit.codec import CHUNK_BYTES, INLINE_BYTES, Assembler, CodecError, decode, encode
from wardgate.audit.records import BodyChunk, CommandIntent, CommandOutcome, Malformed, Record

from .strategies import any_record

AT = 1_700_000_000_123_456


@given(record=any_record, at_us=st.integers(min_value=0, max_value=1 << 60))
def test_round_trip(record: Record, at_us: int) -> None:
    documents = encode(record, at_us, 7)
    assert len(documents) == 1
    entry = decode(documents[0])
    assert (entry.at_us, entry.record, entry.cut) == (at_us, record, ())
    assert Assembler(entry).record() == record


@given(record=any_record)
def test_a_record_is_plain_bson(record: Record) -> None:
    document = bson.decode(encode(record, AT, 1)[0])
    assert document["at"] == AT
    assert set(document) - {"kind", "at"} <= set(type(record).__dataclass_fields__)


_name = st.text(max_size=6) | st.just("x" * 500)
_number = st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1) | st.just(0)
_usual_intent = st.builds(
    CommandIntent,
    connection=_number,
    request_id=_number,
    database=_name,
    collection=st.none() | _name,
    command=_name,
    effect=st.sampled_from(("read", "write")),
    body=st.sampled_from((b"", bson.encode({"ping": 1}))),
    bytes_in=_number,
    client_app=st.none() | _name,
    rule=st.none() | st.just(""),
    continues=st.none() | st.just(0),
)
_usual_outcome = st.builds(
    CommandOutcome,
    intent_seq=_number,
    ok=st.none() | st.floats(allow_nan=False),
    code=st.none() | st.just(0),
    documents=st.none() | _number,
    bytes_out=_number,
    duration_us=_number,
    unacknowledged=st.booleans(),
    error=st.none() | st.just(""),
    more=st.booleans(),
    modified=st.none() | st.just(0),
    upserted=st.none() | st.just(0),
    write_errors=st.sampled_from((0, 1)),
)


@given(record=_usual_intent | _usual_outcome | any_record, at_us=st.integers(min_value=0, max_value=1 << 60))
def test_the_quick_way_gives_the_same_bytes(record: Record, at_us: int) -> None:
    assert encode(record, at_us, 1) == [codec._document(record, at_us)]


@pytest.mark.parametrize(
    "record",
    [
        CommandIntent(1, 2, "shop", "orders", "find", "read", bson.encode({"find": "orders"}), 99, client_app="app"),
        CommandOutcome(5, 1.0, documents=1, bytes_out=300, duration_us=900),
    ],
)
def test_what_every_command_writes_goes_the_quick_way(record: Record) -> None:
    assert codec._QUICK[type(record)](record, AT) == codec._document(record, AT)


def _intent(body: bytes, sequences: tuple[tuple[str, bytes], ...] = ()) -> CommandIntent:
    return CommandIntent(1, 2, "shop", "orders", "insert", "write", body, len(body), sequences)


@pytest.mark.parametrize("size", [INLINE_BYTES, INLINE_BYTES + 1, 2 * CHUNK_BYTES, 48_000_000])
def test_large_bodies_are_cut_and_joined(size: int) -> None:
    body = bson.encode({"insert": "orders", "$db": "shop"})
    one = bson.encode({"x": b"\xab" * 1000})
    documents = one * ((size - len(body)) // len(one))
    filler = size - len(body) - len(documents)
    record = _intent(body, (("documents", documents), ("more", b"z" * filler)))
    first, *rest = encode(record, AT, 41)
    assert bool(rest) == (size > INLINE_BYTES)
    assert max(len(part) for part in (first, *rest)) < INLINE_BYTES + 4096
    assembler = Assembler(decode(first))
    for part in rest:
        chunk = decode(part).record
        assert isinstance(chunk, BodyChunk)
        assert chunk.intent_seq == 41
        assert not assembler.whole
        assembler.add(chunk)
    assert assembler.whole
    assert assembler.record() == record


def test_chunks_out_of_place_are_refused() -> None:
    first, one, two, _ = encode(_intent(bson.encode({"x": b"a" * 3_000_000})), AT, 1)
    assembler = Assembler(decode(first))
    chunks = [decode(part).record for part in (one, two)]
    assert all(isinstance(chunk, BodyChunk) for chunk in chunks)
    with pytest.raises(CodecError):
        assembler.add(chunks[1])  # type: ignore[arg-type]
    assembler.add(chunks[0])  # type: ignore[arg-type]
    with pytest.raises(CodecError):
        assembler.record()


def test_hostile_text_is_capped_and_made_valid() -> None:
    outcome = CommandOutcome(1, 0.0, 2, error="\ud800" + "é" * 100_000)
    record = decode(encode(outcome, AT, 1)[0]).record
    assert isinstance(record, CommandOutcome)
    assert record.error is not None
    assert record.error.startswith("\\ud800é")
    assert record.error.endswith("é…")
    assert len(record.error.encode()) < 8300


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\x05\0\0\0\0",
        bson.encode({"kind": "intent", "at": 1}),
        bson.encode({"kind": "later", "at": 1}),
        bson.encode({"kind": "malformed", "at": "x"}),
        bson.encode({"kind": ["intent"], "at": 1}),
        bson.encode({"kind": "denied", "at": 1, "connection": {}}),
    ],
)
def test_what_is_no_record_is_refused(document: bytes) -> None:
    with pytest.raises(CodecError):
        decode(document)


@given(data=st.binary(max_size=200))
def test_bytes_are_a_record_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except CodecError:
        return


@given(data=st.data())
def test_a_mutated_record_is_read_or_refused(data: st.DataObject) -> None:
    document = bytearray(encode(Malformed(1, "bad opcode", b"abc"), AT, 1)[0])
    at = data.draw(st.integers(0, len(document) - 1))
    document[at] ^= data.draw(st.integers(1, 255))
    try:
        decode(bytes(document))
    except CodecError:
        return
