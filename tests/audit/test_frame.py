"""frame: whole frames come out whatever way the bytes were cut; broken ones never do."""

from __future__ import annotations

import os
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.audit.chain import ChainWriter, EpochHead
from wardgate.audit.frame import HEAD_BYTES, MAGIC, MAX_PAYLOAD, FrameError, FrameReader, Kind, Scan, parse_head, split

SESSION = bytes(range(16))
_KEY = bytes(32)


def _frames(count: int, size: int = 20) -> list[bytes]:
    writer = ChainWriter(SESSION, 3, _KEY, EpochHead(b"sealed", "key-1", "gw_x", 1, None))
    return [writer.head_frame, *(writer.append(b"%d" % i * size) for i in range(count))]


FRAMES = _frames(6)
STREAM = b"".join(FRAMES)
ENDS = list(accumulate(map(len, FRAMES)))


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_cut_anywhere(cuts: list[int]) -> None:
    reader = FrameReader()
    got = [
        frame.raw
        for start, end in pairwise(sorted({0, len(STREAM), *cuts}))
        for frame in reader.feed(STREAM[start:end])
    ]
    assert got == FRAMES
    assert reader.pending == 0


@given(end=st.integers(0, len(STREAM)))
def test_a_torn_tail_leaves_the_frames_before_it(end: int) -> None:
    for padding in (b"", b"\0" * 500):
        data = STREAM[:end] + padding
        # Zeros behind a cut within a frame's last zeros make it whole again.
        whole = [frame for frame, stop in zip(FRAMES, ENDS, strict=True) if data[:stop] == STREAM[:stop]]
        scan = Scan(data)
        located = list(scan)
        assert [data[item.offset : item.end] for item in located] == whole
        assert scan.end == sum(map(len, whole))
        assert not scan.holes
        assert scan.torn == any(data[scan.end :])
    whole = [frame for frame, stop in zip(FRAMES, ENDS, strict=True) if stop <= end]
    reader = FrameReader()
    assert [frame.raw for frame in reader.feed(STREAM[:end])] == whole


@given(at=st.integers(0, len(STREAM) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_hides_its_own_frame_only(at: int, flip: int) -> None:
    data = bytearray(STREAM)
    data[at] ^= flip
    start = 0
    for index, frame in enumerate(FRAMES):  # noqa: B007 - the index is what we look for
        if start <= at < start + len(frame):
            break
        start += len(frame)
    scan = Scan(bytes(data))
    got = [bytes(data[item.offset : item.end]) for item in scan]
    assert got == FRAMES[:index] + FRAMES[index + 1 :]
    if index + 1 < len(FRAMES):
        assert scan.holes == [(start, start + len(FRAMES[index]))]
    else:
        assert scan.torn
    with pytest.raises(FrameError) as caught:
        split(bytes(data))
    assert caught.value.offset == start
    reader = FrameReader()
    if index:
        assert len(reader.feed(bytes(data))) == index
    elif not _waits(data):
        with pytest.raises(FrameError):
            reader.feed(bytes(data))


def _waits(data: bytearray) -> bool:
    """Whether the changed byte made the first frame longer than what there is: an incremental reader waits then."""
    try:
        return parse_head(bytes(data)).length > len(data) - HEAD_BYTES
    except FrameError:
        return False


@given(data=st.binary(max_size=400) | st.binary(max_size=60).map(lambda tail: MAGIC + b"\1\1\1\0" + tail))
def test_no_bytes_break_the_scan(data: bytes) -> None:
    scan = Scan(data)
    assert all(item.end <= len(data) for item in scan)


def test_a_lying_length_allocates_nothing() -> None:
    frame = bytearray(FRAMES[1])
    frame[36:40] = (MAX_PAYLOAD + 1).to_bytes(4, "little")
    with pytest.raises(FrameError, match="claims"):
        FrameReader().feed(bytes(frame))


@pytest.mark.parametrize(("at", "value"), [(4, 2), (5, 0), (5, 2), (6, 3), (6, 0), (7, 1)])
def test_unknown_forms_are_refused(at: int, value: int) -> None:
    frame = bytearray(FRAMES[1])
    frame[at] = value
    with pytest.raises(FrameError):
        split(bytes(frame))


def test_a_frame_in_a_payload_is_not_taken_for_one() -> None:
    frames = [*_frames(1), b""]
    writer = ChainWriter(SESSION, 4, os.urandom(32), EpochHead(b"", "", "", 1, None))
    outer = writer.append(b"".join(frames))
    assert [item.head.epoch for item in Scan(outer)] == [4]
    assert split(outer)[0].head.kind == Kind.RECORD
