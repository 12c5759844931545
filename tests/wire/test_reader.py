from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.wire.header import HEADER, Header, header_of
from wardgate.wire.reader import FramingError, MessageReader, Piece, PieceReader

LIMIT = 4096


def message(body: bytes, request_id: int = 7, opcode: int = 2013) -> bytes:
    return struct.pack("<iiii", 16 + len(body), request_id, 0, opcode) + body


bodies = st.lists(st.binary(max_size=200), min_size=1, max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Messages, and the same bytes cut anywhere."""
    messages = [message(body, n) for n, body in enumerate(draw(bodies))]
    stream = b"".join(messages)
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=40)))
    edges = [0, *cuts, len(stream)]
    return messages, [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(streams())
def test_whole_messages_come_out_however_the_bytes_were_cut(case: tuple[list[bytes], list[bytes]]) -> None:
    messages, chunks = case
    reader, out = MessageReader(LIMIT), []
    for chunk in chunks:
        got = reader.take(chunk)
        while got is not None:
            out.append(got)
            got = reader.next()
    assert out == messages
    assert reader.buffered == 0


@given(streams())
def test_pieces_join_to_the_messages_and_mark_first_and_last(case: tuple[list[bytes], list[bytes]]) -> None:
    messages, chunks = case
    reader = PieceReader(LIMIT)
    pieces = [piece for chunk in chunks for piece in reader.feed(chunk)]
    out: list[bytes] = []
    begun = False
    for piece in pieces:
        assert (piece.header is not None) == (not begun)
        if piece.header is not None:
            assert len(piece.data) >= min(piece.header.length, 20)
            out.append(b"")
        out[-1] += piece.data
        begun = not piece.last
    assert out == messages
    assert reader.between


def test_a_message_in_one_chunk_is_not_copied() -> None:
    one = message(b"x" * 100)
    assert MessageReader(LIMIT).take(one) is one
    reader = MessageReader(LIMIT)
    reader.feed(one)
    assert reader.next() is one
    piece = PieceReader(LIMIT).whole(one)
    assert piece is not None
    assert piece.data is one
    assert PieceReader(LIMIT).whole(one + one) is None


@pytest.mark.parametrize("length", [-1, 0, 15, LIMIT + 1, 2**31 - 1])
def test_an_impossible_length_is_refused_from_the_header_alone(length: int) -> None:
    head = struct.pack("<iiii", length, 1, 0, 2013)
    with pytest.raises(FramingError):
        MessageReader(LIMIT).take(head)
    with pytest.raises(FramingError):
        PieceReader(LIMIT).feed(head)


@pytest.mark.parametrize(
    "said", [bytes.fromhex("1603010200010001fc0303") + bytes(60), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_another_protocol_is_refused_from_its_first_bytes(said: bytes) -> None:
    """Found in review: read as a length, the first bytes of TLS are 33 MB that would never come."""
    with pytest.raises(FramingError):
        MessageReader(48_000_000).take(said)


def test_the_broken_state_is_final() -> None:
    reader, pieces = MessageReader(LIMIT), PieceReader(LIMIT)
    bad = struct.pack("<iiii", 3, 1, 0, 2013)
    with pytest.raises(FramingError):
        reader.take(bad)
    with pytest.raises(FramingError):
        reader.next()
    with pytest.raises(FramingError):
        pieces.feed(bad)
    with pytest.raises(FramingError):
        pieces.feed(message(b"abc")[:5])


def test_missing_tells_how_much_of_the_head_message_is_outstanding() -> None:
    reader = MessageReader(LIMIT)
    one = message(b"y" * 84)
    assert reader.missing == 0
    assert reader.take(one[:10]) is None
    assert reader.missing == 6
    assert reader.take(one[10:40]) is None
    assert reader.missing == 60
    assert reader.take(one[40:]) == one
    assert reader.missing == 0


def test_rest_gives_back_what_was_not_taken() -> None:
    reader = MessageReader(LIMIT)
    one = message(b"z")
    assert reader.take(one + b"tail") == one
    assert reader.rest() == b"tail"
    assert reader.buffered == 0


def test_header_and_pieces_by_hand() -> None:
    one = message(b"abcdef", request_id=-3, opcode=1)
    assert header_of(one) == Header(22, -3, 0, 1)
    reader = PieceReader(LIMIT)
    assert reader.feed(one[:19]) == []
    assert reader.feed(one[19:21]) == [Piece(Header(22, -3, 0, 1), one[:21], False)]
    assert reader.feed(one[21:]) == [Piece(None, b"f", True)]


@pytest.mark.parametrize(
    "first",
    [
        bytes.fromhex("16030102000100") + bytes(9),  # a TLS ClientHello of 512 bytes: a “length” of 33 MB
        bytes.fromhex("1603010002") + bytes(11),
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_",
        b"HELO",
        b"\x0f\0\0\0",
        b"\xff\xff\xff\xff",
    ],
)
def test_other_protocols_are_known_by_their_first_bytes(first: bytes) -> None:
    for cut in range(len(first)):
        reader = MessageReader(48_000_000)
        reader.feed(first[:cut])
        reader.feed(first[cut:])
        with pytest.raises(FramingError):  # at the sixteenth byte at the latest, whatever “length” they begin with
            reader.next()


def test_a_large_message_is_left_to_whoever_streams_it() -> None:
    message = HEADER.pack(100, 7, 0, 2013) + bytes(84)
    reader = MessageReader(48_000_000, 50)
    assert reader.take(message + b"behind") is None
    assert reader.large
    assert reader.next() is None
    assert reader.begin(20) == message[:20]
    taken = b""
    while len(taken) < 100:
        taken += reader.some(min(7, 100 - len(taken)))
    assert taken == message
    assert not reader.large
    assert reader.rest() == b"behind"
    assert reader.some(5) == b""


def test_bytes_that_are_put_back_come_again() -> None:
    reader = MessageReader(48_000_000, 50)
    small = HEADER.pack(20, 7, 0, 2013) + bytes(4)
    reader.feed(small + small)
    first = reader.next()
    assert first == small
    reader.unread(first)
    assert (reader.next(), reader.next(), reader.next()) == (small, small, None)
