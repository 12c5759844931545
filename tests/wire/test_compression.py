"""OP_COMPRESSED: what goes in comes out, in any pieces, and nothing that lies gets anywhere."""

from __future__ import annotations

import contextlib
import itertools
import struct
import zlib
from collections.abc import Iterable

import cramjam
import pytest
import snappy
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from wardgate.wire.compression import (
    HEAD_BYTES,
    Compressor,
    Deflater,
    Inflater,
    common,
    compress,
    decompress,
    read_head,
)
from wardgate.wire.errors import RemoteProtocolError
from wardgate.wire.header import HEADER, MESSAGE_BYTES_MAX, Opcode, header_of

ALL = frozenset(Compressor)
any_compressor = pytest.mark.parametrize("compressor", Compressor)


def plain(payload: bytes, opcode: int = Opcode.MSG) -> bytes:
    return HEADER.pack(16 + len(payload), 7, 3, opcode) + payload


def wrapped(payload: bytes, compressor: int, *, size: int | None = None, opcode: int = Opcode.MSG) -> bytes:
    """A compressed message whose claims are not checked; `payload` is compressed already."""
    rest = struct.pack("<iiB", opcode, 0 if size is None else size, compressor) + payload
    return HEADER.pack(16 + len(rest), 7, 3, Opcode.COMPRESSED) + rest


def inflate(message: bytes, cuts: Iterable[int] = ()) -> bytes:
    head = read_head(message, ALL)
    inflater = Inflater(head)
    edges = [0, *sorted(cuts), len(message)]
    return b"".join(
        piece for a, b in itertools.pairwise(edges) for piece in inflater.feed(message[a:b], last=b == len(message))
    )


payloads = st.binary(min_size=1, max_size=400) | st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=9),
                                                          st.integers(1, 3000))  # fmt: skip


@given(payloads, st.sampled_from(Compressor), st.lists(st.integers(1, 400), max_size=5), st.data())
def test_round_trip_in_any_pieces(payload: bytes, compressor: Compressor, cuts: list[int], data: st.DataObject) -> None:
    message = plain(payload)
    deflater = Deflater(compressor, header_of(message))
    edges = [0, *sorted(cut for cut in cuts if cut < len(payload)), len(payload)]
    for a, b in itertools.pairwise(edges):
        deflater.feed(payload[a:b])
    small = deflater.finish()
    assert header_of(small)[1:] == (7, 3, Opcode.COMPRESSED)
    assert inflate(small, data.draw(st.lists(st.integers(1, len(small) - 1), max_size=5))) == message
    assert inflate(small, range(1, len(small))) == message


@given(payloads)
def test_others_understand_us_and_we_them(payload: bytes) -> None:
    message = plain(payload)
    opened = {
        Compressor.SNAPPY: (snappy.uncompress, snappy.compress),
        Compressor.ZLIB: (zlib.decompress, zlib.compress),
        Compressor.ZSTD: (zstd.decompress, zstd.compress),
    }
    for compressor, (uncompress, make) in opened.items():
        assert uncompress(compress(message, compressor)[HEAD_BYTES:]) == payload
        theirs = wrapped(make(payload), compressor, size=len(payload))
        assert decompress(theirs, read_head(theirs, ALL)) == message


def test_large_output_comes_in_small_pieces() -> None:
    message = plain(bytes(5_000_000))
    for compressor in Compressor:
        small = compress(message, compressor)
        pieces = list(Inflater(read_head(small, ALL)).feed(small, last=True))
        assert b"".join(pieces) == message
        assert max(map(len, pieces)) <= 256 * 1024 + 16


@given(st.binary(max_size=60), st.sampled_from(Compressor), st.integers(1, 1000))
def test_garbage_is_refused(payload: bytes, compressor: Compressor, size: int) -> None:
    message = wrapped(payload, compressor, size=size)
    with contextlib.suppress(RemoteProtocolError):  # and no other error
        assert len(inflate(message)) == 16 + size


@any_compressor
@pytest.mark.parametrize("size", [1, 99, 101, 10_000])
def test_a_size_that_lies_is_refused(compressor: Compressor, size: int) -> None:
    payload = compress(plain(b"x" * 100), compressor)[HEAD_BYTES:]
    for cuts in (range(0), range(1, len(payload))):
        with pytest.raises(RemoteProtocolError) as error:
            inflate(wrapped(payload, compressor, size=size), cuts)
        assert error.value.code == "wrapped_length"


@any_compressor
def test_bytes_behind_the_end_are_refused(compressor: Compressor) -> None:
    payload = compress(plain(b"x" * 100), compressor)[HEAD_BYTES:]
    with pytest.raises(RemoteProtocolError):
        inflate(wrapped(payload + b"zz", compressor, size=100))


@pytest.mark.parametrize("size", [100, 1000])
@pytest.mark.parametrize("compressor", [Compressor.ZLIB, Compressor.ZSTD])
def test_bytes_behind_the_end_are_refused_at_once_and_not_gathered(compressor: Compressor, size: int) -> None:
    message = wrapped(compress(plain(b"x" * 100), compressor)[HEAD_BYTES:], compressor, size=size)
    inflater = Inflater(read_head(message, ALL))
    assert len(b"".join(inflater.feed(message, last=False))) == 16 + 100
    with pytest.raises(RemoteProtocolError) as error:
        list(inflater.feed(b"z", last=False))
    assert error.value.code == "wrapped_length"
    with pytest.raises(RemoteProtocolError):
        list(Inflater(read_head(message, ALL)).feed(message + b"z", last=False))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (wrapped(b"x", 0, size=1), "compressor_not_negotiated"),
        (wrapped(b"x", 9, size=1), "compressor_not_negotiated"),
        (wrapped(b"x", 2, size=1, opcode=Opcode.COMPRESSED), "wrapped_opcode"),
        (wrapped(b"x", 2, size=1, opcode=2002), "wrapped_opcode"),
        (wrapped(b"x", 2, size=0), "wrapped_length"),
        (wrapped(b"x", 2, size=-1), "wrapped_length"),
        (wrapped(b"x", 2, size=MESSAGE_BYTES_MAX), "wrapped_length"),
        (wrapped(b"x", 2, size=MESSAGE_BYTES_MAX - 15), "wrapped_length"),
        (HEADER.pack(20, 7, 0, 2012) + b"\0\0\0\0", "short_message"),
    ],
)
def test_heads_that_are_refused(message: bytes, code: str) -> None:
    with pytest.raises(RemoteProtocolError) as error:
        read_head(message, ALL)
    assert (error.value.code, error.value.mongo_code) == (code, None)


def test_what_was_not_negotiated_is_refused() -> None:
    message = compress(plain(b"x"), Compressor.ZLIB)
    assert read_head(message, {Compressor.ZLIB}).compressor is Compressor.ZLIB
    for allowed in (frozenset[Compressor](), {Compressor.ZSTD, Compressor.SNAPPY}):
        with pytest.raises(RemoteProtocolError):
            read_head(message, allowed)


def test_bombs_end_before_they_are_made() -> None:
    # 48 MB of zeros say that they are 1,000 bytes; snappy's own length says 4 GiB.
    for compressor in (Compressor.ZLIB, Compressor.ZSTD):
        bomb = wrapped(compress(plain(bytes(47_000_000)), compressor)[HEAD_BYTES:], compressor, size=1000)
        with pytest.raises(RemoteProtocolError):
            next(Inflater(read_head(bomb, ALL)).feed(bomb, last=True))
    lying = wrapped(b"\xff\xff\xff\xff\x0f" + bytes(10), Compressor.SNAPPY, size=1000)
    with pytest.raises(RemoteProtocolError):
        inflate(lying)
    wide = zstd.compress(bytes(1000), options={zstd.CompressionParameter.window_log: 27})
    huge = b"\x28\xb5\x2f\xfd\x00\xa0" + wide[6:]  # a window of 1 GiB
    with pytest.raises(RemoteProtocolError):
        inflate(wrapped(huge, Compressor.ZSTD, size=1000))


def test_the_common_ones_are_in_the_order_of_the_one_who_asks() -> None:
    assert common(["none", "zstd", "noop", "snappy", "zstd"]) == (Compressor.ZSTD, Compressor.SNAPPY)
    assert common([]) == ()
    assert bytes(cramjam.snappy.compress_raw(b"x" * 10))[0] == 10
