"""chain: what was written is read, and each kind of tampering is told by place and name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.audit import frame as framing
from wardgate.audit.chain import (
    Break,
    ChainBroken,
    ChainReader,
    ChainWriter,
    EpochHead,
    Link,
    open_frame,
    parse_epoch_head,
    seal_statement,
    tail_frame,
)
from wardgate.audit.frame import Frame, split

SESSION = bytes(range(16))
OTHER = bytes(16)
KEY = os.urandom(32)
HEAD = EpochHead(b"sealed", "key-1", "gw_x", 1_700_000_000_000_000, Link(1, 9, b"h" * 32))


def _epoch(count: int = 6, session: bytes = SESSION, epoch: int = 2, key: bytes = KEY) -> list[Frame]:
    writer = ChainWriter(session, epoch, key, HEAD)
    return split(b"".join([writer.head_frame, *(writer.append(b"record %d" % i) for i in range(count))]))


def _reader(closed: bool = False) -> ChainReader:
    return ChainReader(SESSION, 2, KEY, closed=closed)


def _read(reader: ChainReader, frames: list[Frame]) -> None:
    for frame in frames:
        reader.accept(frame)


def test_round_trip() -> None:
    frames = _epoch()
    reader = _reader()
    assert [reader.accept(frame) for frame in frames] == [None, *(b"record %d" % i for i in range(6))]
    assert reader.link == Link(2, 6, hashlib.sha256(frames[-1].raw).digest())
    assert parse_epoch_head(frames[0]) == HEAD


@given(at=st.integers(0, 6))
def test_reading_goes_on_from_a_checked_place(at: int) -> None:
    frames = _epoch()
    first = _reader()
    for frame in frames[: at + 1]:
        first.accept(frame)
    second = ChainReader(SESSION, 2, KEY, first.link)
    assert [second.accept(frame) for frame in frames[at + 1 :]] == [b"record %d" % i for i in range(at, 6)]


def test_one_frame_opens_by_itself() -> None:
    frames = _epoch()
    assert open_frame(frames[4], KEY) == b"record 3"
    with pytest.raises(ChainBroken):
        open_frame(frames[4], os.urandom(32))


def test_a_tail_closes_the_epoch() -> None:
    frames = _epoch()
    first = _reader()
    for frame in frames:
        first.accept(frame)
    last = first.link
    tail = split(tail_frame(SESSION, last))[0]
    assert tail.raw == tail_frame(SESSION, last)
    reader = _reader()
    for frame in (*frames, tail):
        reader.accept(frame)
    assert reader.closed
    writer = ChainWriter(SESSION, 2, KEY, HEAD)
    for i in range(6):
        writer.append(b"record %d" % i)
    writer.append(b"skipped")
    after = split(writer.append(b"after the tail"))[0]
    with pytest.raises(ChainBroken) as caught:
        reader.accept(after)
    assert (caught.value.how, caught.value.seq) == (Break.SUBSTITUTED, 8)


def _altered(frames: list[Frame]) -> list[Frame]:
    """One bit of record 3 changed, by someone who mends the checksum."""
    old = frames[3]
    payload = old.payload[:-1] + bytes([old.payload[-1] ^ 1])
    return [*frames[:3], *split(framing.build(old.aad, payload)), *frames[4:]]


def _renumbered(frames: list[Frame]) -> list[Frame]:
    """Record 3 taken out and those behind it renumbered to hide it."""
    moved = [
        split(framing.build(framing.associated_data(1, 1, SESSION, 2, f.head.seq - 1, f.head.length), f.payload))[0]
        for f in frames[4:]
    ]
    return frames[:3] + moved


def _foreign(frames: list[Frame]) -> list[Frame]:
    return [*frames[:3], _epoch(session=OTHER)[3], *frames[4:]]


def _transplanted(frames: list[Frame]) -> list[Frame]:
    """A record of another session under a head that says it is of this one."""
    payload = _epoch(session=OTHER)[3].payload
    return [*frames[:3], *split(framing.build(frames[3].aad[:36] + len(payload).to_bytes(4, "little"), payload))]


def _swapped(frames: list[Frame]) -> list[Frame]:
    return [*frames[:3], frames[4], frames[3], *frames[5:]]


def _rewritten(frames: list[Frame]) -> list[Frame]:
    """Record 3 replaced by someone who has the key but can't redo what follows."""
    writer = ChainWriter(SESSION, 2, KEY, HEAD)
    made = [writer.append(b"record 0"), writer.append(b"record 1"), writer.append(b"another")]
    return [*frames[:3], *split(made[2]), *frames[4:]]


def _second_head(frames: list[Frame]) -> list[Frame]:
    return [*frames[:3], frames[0], *frames[3:]]


def _stale(frames: list[Frame]) -> list[Frame]:
    return [*frames[:3], frames[2], *frames[3:]]


@pytest.mark.parametrize(
    ("tamper", "how", "seq"),
    [
        (_altered, Break.ALTERED, 3),
        (_renumbered, Break.ALTERED, 3),
        (_foreign, Break.FOREIGN, 3),
        (_transplanted, Break.ALTERED, 3),
        (lambda frames: frames[:3] + frames[4:], Break.GAP, 3),
        (lambda frames: frames[1:], Break.GAP, 0),
        (_swapped, Break.GAP, 3),
        (_stale, Break.REPLAYED, 3),
        (_second_head, Break.REPLAYED, 3),
        (_rewritten, Break.SUBSTITUTED, 3),
    ],
)
def test_tampering_is_named(tamper: Callable[[list[Frame]], list[Frame]], how: Break, seq: int) -> None:
    with pytest.raises(ChainBroken) as caught:
        _read(_reader(), tamper(_epoch()))
    assert (caught.value.how, caught.value.epoch, caught.value.seq) == (how, 2, seq)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(ChainBroken) as caught:
        _read(ChainReader(SESSION, 2, os.urandom(32)), _epoch())
    assert (caught.value.how, caught.value.seq) == (Break.ALTERED, 1)


def test_a_refused_frame_changes_nothing() -> None:
    frames = _epoch()
    reader = _reader()
    reader.accept(frames[0])
    for wrong in (frames[2], frames[0], _epoch(session=OTHER)[1]):
        before = reader.link
        with pytest.raises(ChainBroken):
            reader.accept(wrong)
        assert reader.link == before
    reader.accept(frames[1])


def test_records_too_long_are_refused() -> None:
    writer = ChainWriter(SESSION, 2, KEY, HEAD)
    with pytest.raises(ValueError, match="too long"):
        writer.append(bytes(framing.MAX_PAYLOAD))
    assert writer.seq == 0


def test_the_statement_that_is_signed_is_canonical() -> None:
    links = [Link(2, 5, b"\x02" * 32), Link(1, 9, b"\x01" * 32)]
    statement = seal_statement("ses_x", links, final=True, sealed_at_us=7)
    assert statement == seal_statement("ses_x", reversed(links), final=True, sealed_at_us=7)
    assert statement.startswith(b'wardgate seal v1\n{"final":true,"heads":[{"epoch":1,')
