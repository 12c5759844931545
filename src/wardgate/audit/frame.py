"""The frame: how one record lies in a spool segment, in a shipped batch and in the store.

    offset  size  field
    0       4     magic `WGF1`
    4       1     version, 1
    5       1     algorithm: 0 clear, 1 AES-256-GCM
    6       1     kind: 0 epoch head, 1 record, 2 epoch tail
    7       1     reserved, 0
    8       16    session (the UUID of its id)
    24      4     epoch
    28      8     sequence number
    36      4     length of the payload
    40      4     CRC-32C of bytes 0 to 39 and the payload
    44      …     payload

Little-endian. The head stands in clear, so that a gateway without the key can cut a torn tail and ship. Bytes 0 to 39
are the associated data of the ciphertext. The checksum finds accidents; only the tag and the chain find intent.

Not here: what a payload means (`chain`, `codec`). Law: this layout is final; a change is a new version number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import google_crc32c

from ..errors import WardgateError

MAGIC: Final = b"WGF1"
VERSION: Final = 1
CLEAR: Final = 0
AES_256_GCM: Final = 1
HEAD_BYTES: Final = 44
AAD_BYTES: Final = 40
# A chunk of 1 MiB and its facts; the cap is what a reader allocates for a length that lies.
MAX_PAYLOAD: Final = 2 * 1024 * 1024

_AAD = struct.Struct("<4sBBBB16sIQI")
_HEAD = struct.Struct("<4sBBBB16sIQII")
_CRC = struct.Struct("<I")


class Kind(IntEnum):
    """What a frame is. A tail is written by a gateway that recovered an epoch without its key: nothing more comes."""

    HEAD = 0
    RECORD = 1
    TAIL = 2


class FrameError(WardgateError):
    """Bytes that are no frame; `offset` is where in the input."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__("bad_frame", message)
        self.offset = offset


class Head(NamedTuple):
    """A frame's head, checked for form only."""

    algorithm: int
    kind: int
    session: bytes
    epoch: int
    seq: int
    length: int
    crc: int


class Frame(NamedTuple):
    """A head and the whole frame's bytes."""

    head: Head
    raw: bytes

    @property
    def aad(self) -> bytes:
        return self.raw[:AAD_BYTES]

    @property
    def payload(self) -> bytes:
        return self.raw[HEAD_BYTES:]


def associated_data(algorithm: int, kind: int, session: bytes, epoch: int, seq: int, length: int) -> bytes:
    """Bytes 0 to 39 of a frame."""
    return _AAD.pack(MAGIC, VERSION, algorithm, kind, 0, session, epoch, seq, length)


def build(aad: bytes, payload: bytes) -> bytes:
    """The frame of `payload`, whose length `aad` already tells."""
    crc: int = google_crc32c.extend(google_crc32c.value(aad), payload)
    return b"".join((aad, _CRC.pack(crc), payload))


def parse_head(buffer: bytes | bytearray, offset: int = 0) -> Head:
    """The head at `offset`, where at least `HEAD_BYTES` are; FrameError if its form is wrong."""
    magic, version, algorithm, kind, reserved, session, epoch, seq, length, crc = _HEAD.unpack_from(buffer, offset)
    if magic != MAGIC:
        raise FrameError("A frame does not begin with its magic.", offset)
    if version != VERSION or reserved != 0:
        raise FrameError(f"A frame has the unknown version {version}.", offset)
    if kind > Kind.TAIL or algorithm != (AES_256_GCM if kind == Kind.RECORD else CLEAR):
        raise FrameError("A frame's kind and algorithm do not belong together.", offset)
    if length > MAX_PAYLOAD:
        raise FrameError(f"A frame claims {length} bytes.", offset)
    return Head(algorithm, kind, session, epoch, seq, length, crc)


def _checked(head: Head, data: bytes | bytearray, offset: int) -> Frame:
    raw = bytes(data[offset : offset + HEAD_BYTES + head.length])
    if google_crc32c.extend(google_crc32c.value(raw[:AAD_BYTES]), raw[HEAD_BYTES:]) != head.crc:
        raise FrameError(f"The frame with sequence number {head.seq} does not match its checksum.", offset)
    return Frame(head, raw)


def walk(data: bytes) -> Iterator[Frame]:
    """The frames of which `data` consists, to its last byte; FrameError at the first that is broken or cut short."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < HEAD_BYTES:
            raise FrameError("A frame is cut short.", offset)
        head = parse_head(data, offset)
        if end - offset - HEAD_BYTES < head.length:
            raise FrameError("A frame is cut short.", offset)
        yield _checked(head, data, offset)
        offset += HEAD_BYTES + head.length


def split(data: bytes) -> list[Frame]:
    """All frames of `data`, or the FrameError of `walk`."""
    return list(walk(data))


class FrameReader:
    """Frames from bytes that come in pieces. After a FrameError it stays broken."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken: FrameError | None = None

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that became whole. A frame before the broken one is given out first, by an earlier call or this
        one: the error is raised by the next call then."""
        if self._broken:
            raise self._broken
        self._buffer += data
        buffer, frames, offset = self._buffer, [], 0
        try:
            while len(buffer) - offset >= HEAD_BYTES:
                head = parse_head(buffer, offset)
                if len(buffer) - offset - HEAD_BYTES < head.length:
                    break
                frames.append(_checked(head, buffer, offset))
                offset += HEAD_BYTES + head.length
        except FrameError as error:
            self._broken = error
        del self._buffer[:offset]
        if self._broken and not frames:
            raise self._broken
        return frames


class Located(NamedTuple):
    """Where a frame lies in a segment."""

    offset: int
    head: Head

    @property
    def end(self) -> int:
        return self.offset + HEAD_BYTES + self.head.length


class Scan:
    """A segment after a crash: iterate for every frame whose checksum holds, in order.

    What follows the last good frame is a torn tail (`torn`), or zeros that nothing was written to. Broken bytes with
    good frames behind them are something else (`holes`): a disk that lost what it had confirmed, or a meddler; or
    pages that reached the disk out of order in a power cut, which no sync had confirmed.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.end = 0
        self.holes: list[tuple[int, int]] = []
        self.torn = False

    def __iter__(self) -> Iterator[Located]:
        offset, hole = 0, -1
        whole = self._data
        while len(whole) - offset >= HEAD_BYTES:
            located = self._at(offset)
            if located is None:
                hole = offset if hole < 0 else hole
                offset = whole.find(MAGIC, offset + 1)
                if offset < 0:
                    break
                continue
            if hole >= 0:
                self.holes.append((hole, offset))
                hole = -1
            yield located
            offset = self.end = located.end
        self.torn = bool(whole[self.end :].rstrip(b"\0"))

    def _at(self, offset: int) -> Located | None:
        try:
            head = parse_head(self._data, offset)
            if len(self._data) - offset - HEAD_BYTES < head.length:
                return None
            _checked(head, self._data, offset)
        except FrameError:
            return None
        return Located(offset, head)
