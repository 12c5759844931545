"""Cutting a byte stream into messages.

Two readers over the same 16-byte header. `MessageReader` gives whole messages and serves the client's side, where a
verdict must be known before the last byte goes on. `PieceReader` gives a message in the pieces in which it arrived and
serves the server's side, where replies are passed on while they come. Neither looks behind the header, but for asking
that a first piece holds at least the flags of an OP_MSG.

Law: a length outside 16 … `limit`, or a client's opcode that MongoDB never had, is refused before the bytes behind it
are waited for; bytes are copied only where a message came in more than one piece or shared its piece with another.

A message beyond what may be held is not gathered: `large` says that one is there, and whoever streams it takes its
bytes with `begin` and `some`.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from .header import HEADER, HEADER_BYTES, Header, Opcode, check_length

# A first piece holds the header and, in an OP_MSG, the four bytes of flagBits behind it.
_FIRST_BYTES: Final = 20
_HEADER_OF: Final = HEADER.unpack_from
_OPCODES: Final = frozenset(Opcode)


class FramingError(ValueError):
    """The stream can't be cut into messages any more: a length is impossible. Final for its reader."""


def _impossible(length: int, limit: int) -> FramingError:
    return FramingError(f"a message declares {length} bytes; {HEADER_BYTES} to {limit} are possible")


class MessageReader:
    """Whole messages, one by one, of at most `limit` bytes each; those beyond `whole` bytes are `large`."""

    __slots__ = ("_chunks", "_failed", "_limit", "_need", "_size", "_whole", "large")

    def __init__(self, limit: int, whole: int | None = None) -> None:
        self.large = False  # the message at the head is not given out by `next`
        self._limit = limit
        self._whole = limit if whole is None else min(whole, limit)
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._need = 0  # length of the message at the head of the buffer; 0: its header is not whole yet
        self._failed = False

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not given out yet."""
        return self._size

    @property
    def missing(self) -> int:
        """How many bytes the message at the head still lacks; 0 if it is whole or none has begun."""
        if not self._size:
            return 0
        return max(0, (self._need or HEADER_BYTES) - self._size)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if data:
            self._chunks.append(data)
            self._size += len(data)

    def next(self) -> bytes | None:
        """The next whole message, or None while it is not there; FramingError if it can never be."""
        if not self._need and not self._measure():
            return None
        need = self._need
        if self._size < need or self.large:
            return None
        self._need = 0
        self._size -= need
        head = self._chunks.popleft()
        if len(head) == need:
            return head
        if len(head) > need:
            self._chunks.appendleft(head[need:])
            return head[:need]
        return self._join(head, need)

    def take(self, data: bytes) -> bytes | None:
        """`feed` and `next` in one call, without touching the buffer where `data` is exactly one message."""
        if not self._size and len(data) >= HEADER_BYTES and _HEADER_OF(data)[0] == len(data) <= self._whole:
            return data
        self.feed(data)
        return self.next()

    def begin(self, count: int) -> bytes:
        """The first bytes, `count` of them or all that are here, of the message at the head; they stay."""
        self._join_head(count)
        return self._chunks[0][:count]

    def some(self, most: int) -> bytes:
        """At most `most` of the bytes at the head, as they came; empty where none are here. Where they are a message's,
        it is for the caller to take all of it, from its header on, before `next` is asked again."""
        self._need = 0
        self.large = False
        if not self._chunks or not most:
            return b""
        head = self._chunks.popleft()
        if len(head) > most:
            self._chunks.appendleft(head[most:])
            head = head[:most]
        self._size -= len(head)
        return head

    def unread(self, data: bytes) -> None:
        """Put bytes back that were given out."""
        self._chunks.appendleft(data)
        self._size += len(data)

    def rest(self) -> bytes:
        """Everything that is buffered; the reader is empty afterwards."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = self._need = 0
        self.large = False
        return data

    def _measure(self) -> bool:
        if self._failed:
            raise FramingError("the stream was broken before")
        if self._size < 4:
            return False
        self._join_head(HEADER_BYTES)  # tiny pieces at the very start of a message
        head = self._chunks[0]
        length = int.from_bytes(head[:4], "little", signed=True)
        if not check_length(length, self._limit):
            self._failed = True
            raise _impossible(length, self._limit)
        if self._size < HEADER_BYTES:
            return False
        opcode = _HEADER_OF(head)[3]
        if opcode not in _OPCODES:
            # TLS or HTTP at this port: waiting for the “message” to be whole would be waiting for ever.
            self._failed = True
            raise FramingError(f"opcode {opcode} is none of MongoDB's")
        self._need = length
        self.large = length > self._whole
        return True

    def _join_head(self, count: int) -> None:
        """Make the first chunk at least so long, if there is as much."""
        while len(self._chunks) > 1 and len(self._chunks[0]) < count:
            self._chunks.appendleft(self._chunks.popleft() + self._chunks.popleft())

    def _join(self, head: bytes, need: int) -> bytes:
        parts = [head]
        have = len(head)
        while have < need:
            part = self._chunks.popleft()
            have += len(part)
            if have > need:
                keep = len(part) - (have - need)
                self._chunks.appendleft(part[keep:])
                part = part[:keep]
            parts.append(part)
        return b"".join(parts)


class Piece(NamedTuple):
    """A run of one message's bytes. `header` stands in the first piece only; `last` marks the end of the message."""

    header: Header | None
    data: bytes
    last: bool


class PieceReader:
    """Messages in the pieces in which they come, of at most `limit` bytes in all."""

    __slots__ = ("_failed", "_left", "_limit", "_partial")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = b""  # the beginning of a message that is too short for a first piece
        self._left = 0  # bytes that the message under way still lacks
        self._failed = False

    @property
    def between(self) -> bool:
        """Whether the stream stands exactly between two messages."""
        return not self._left and not self._partial

    def whole(self, data: bytes) -> Piece | None:
        """`data` as the one piece of a message, where it is exactly one; else None, and `feed` it."""
        if not self._left and not self._partial and len(data) >= _FIRST_BYTES:
            header = Header._make(_HEADER_OF(data))
            if header.length == len(data) <= self._limit:
                return Piece(header, data, True)
        return None

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes or continues; FramingError where a length is impossible."""
        if self._failed:
            raise FramingError("the stream was broken before")
        pieces: list[Piece] = []
        if self._partial:
            data = self._partial + data
            self._partial = b""
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                pieces.append(Piece(None, piece, not self._left))
                continue
            if len(data) < HEADER_BYTES:
                self._partial = data
                break
            header = self._checked(data)
            if len(data) < min(header.length, _FIRST_BYTES):
                self._partial = data
                break
            piece, data = data[: header.length], data[header.length :]
            self._left = header.length - len(piece)
            pieces.append(Piece(header, piece, not self._left))
        return pieces

    def _checked(self, data: bytes) -> Header:
        header = Header._make(_HEADER_OF(data))
        if not check_length(header.length, self._limit):
            self._failed = True
            raise _impossible(header.length, self._limit)
        return header
