"""Facts of a server's reply message, whole or in pieces: header, flags and what `rawbson.scan` finds in its document.

It serves the way back to the client, where bytes are passed on while they come. Law: never raises for what the bytes
are; a message that is no reply at all has its facts marked `malformed`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import google_crc32c

from ..rawbson.scan import ReplyFacts, ReplyScanner
from .compression import HEAD_BYTES, Compressor, Inflater, read_head
from .header import HEADER_BYTES, Header, Opcode, header_of
from .message import CHECKSUM_PRESENT, MORE_TO_COME
from .reader import Piece

_MSG_DOCUMENT: Final = 21
_REPLY_DOCUMENT: Final = 36
_WRONG_CHECKSUM: Final = "the reply's checksum is wrong"
_FIRST_BYTES: Final = 21  # of a message: what its first piece must hold
_UINT32: Final = struct.Struct("<I").unpack_from


class MessageScanner:
    """Scans one reply message from its first header byte on, in pieces of any size.

    The first piece must hold the header and, in an OP_MSG, its flagBits (as `wire.reader.PieceReader` gives them).
    """

    __slots__ = ("_left", "_scanner", "_skip", "_sum", "_wrong", "header", "more_to_come")

    def __init__(self) -> None:
        self.header: Header | None = None
        self.more_to_come = False  # another reply to the same request follows
        self._scanner = ReplyScanner()
        self._wrong: str | None = None
        self._skip = 0  # bytes before the document that have not come
        self._left = 0  # bytes of the document that have not come; a checksum may follow it
        self._sum: Checksum | None = None

    def feed(self, piece: bytes) -> None:
        """The next bytes of the message."""
        if self.header is None:
            self._begin(piece)
        if self._wrong is not None:
            return
        if self._sum is not None:
            self._sum.feed(piece)
        if self._skip:
            before = min(self._skip, len(piece))
            self._skip -= before
            piece = piece[before:]
        if len(piece) > self._left:
            piece = piece[: self._left]
        self._left -= len(piece)
        self._scanner.feed(piece)

    def finish(self) -> ReplyFacts:
        """The facts, once every byte was fed."""
        if self._wrong is not None or self.header is None:
            return ReplyFacts(malformed=self._wrong or "the reply has no header")
        if self._sum is not None and not self._sum.right:
            return ReplyFacts(malformed=_WRONG_CHECKSUM)
        return self._scanner.finish()

    def _begin(self, piece: bytes) -> None:
        if len(piece) < HEADER_BYTES:
            self._wrong = "the reply has no header"
            return
        self.header = header_of(piece)
        self._skip, tail, self._wrong = _layout(piece, self.header)
        self._left = max(0, self.header.length - self._skip - tail)
        if tail and self._wrong is None:
            self._sum = Checksum(self.header.length)
        if self.header.opcode == Opcode.MSG and self._wrong is None:
            self.more_to_come = bool(_UINT32(piece, HEADER_BYTES)[0] & MORE_TO_COME)


class Checksum:
    """The crc32c at the end of a message of `length` bytes that comes in pieces."""

    __slots__ = ("_found", "_left", "_sum")

    def __init__(self, length: int) -> None:
        self._left = length - 4
        self._sum = 0
        self._found = b""

    def feed(self, piece: bytes) -> None:
        """The next bytes, from the header's first on."""
        covered = piece[: self._left]
        self._left -= len(covered)
        self._sum = google_crc32c.extend(self._sum, covered)
        self._found += piece[len(covered) :]

    @property
    def right(self) -> bool:
        """Whether it is that of the bytes before it, once all have come."""
        return int.from_bytes(self._found, "little") == self._sum


class ReplyOpener:
    """Pieces of a server's messages, compressed or not, as pieces of the plain ones.

    Only `compressor`, which was agreed with this server, is opened. Raises RemoteProtocolError; final then.
    """

    __slots__ = ("_compressor", "_head", "_inflater", "_limit", "_plain", "_waiting")

    def __init__(self, compressor: Compressor, limit: int) -> None:
        self._compressor = compressor
        self._limit = limit
        self._head = b""  # the beginning of a compressed message that is too short to be understood
        self._inflater: Inflater | None = None
        self._plain: Header | None = None  # the plain message's header, until its first piece is given out
        self._waiting = b""  # given out with the next piece: the end of a message must be known as such

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """The plain pieces that this one gives."""
        if (
            self._inflater is None
            and not self._head
            and (piece.header is None or piece.header.opcode != Opcode.COMPRESSED)
        ):
            yield piece
            return
        data = piece.data
        if self._inflater is None:
            data = self._head = self._head + data
            if len(data) < HEAD_BYTES and not piece.last:
                return
            self._head = b""
            wrapped = read_head(data, (self._compressor,), self._limit)
            self._inflater, self._plain = Inflater(wrapped), wrapped.header
        for opened in self._inflater.feed(data, last=piece.last):
            if self._waiting and (self._plain is None or len(self._waiting) >= _FIRST_BYTES):
                yield self._next(self._waiting, last=False)
                self._waiting = opened
            else:
                self._waiting += opened
        if piece.last:
            waiting, self._waiting, self._inflater = self._waiting, b"", None
            yield self._next(waiting, last=True)

    def _next(self, data: bytes, *, last: bool) -> Piece:
        header, self._plain = self._plain, None
        return Piece(header, data, last)


def scan_message(raw: bytes) -> ReplyFacts:
    """The facts of a reply message that is whole in one buffer: the fast way."""
    scanner = ReplyScanner()
    if len(raw) < HEADER_BYTES:
        return ReplyFacts(malformed="the reply has no header")
    document, tail, wrong = _layout(raw, header_of(raw))
    if wrong is not None:
        return ReplyFacts(malformed=wrong)
    if tail and google_crc32c.value(raw[:-tail]) != _UINT32(raw, len(raw) - tail)[0]:
        return ReplyFacts(malformed=_WRONG_CHECKSUM)
    scanner.feed_range(raw, document, len(raw) - tail)
    return scanner.finish()


def _layout(piece: bytes, header: Header) -> tuple[int, int, str | None]:
    """(where the document begins, bytes behind it, what is wrong)."""
    if header.opcode == Opcode.MSG:
        if len(piece) < 20:
            return 0, 0, "the reply's flags are cut"
        if len(piece) > 20 and piece[20]:
            return 0, 0, "the reply does not begin with its kind-0 section"
        return _MSG_DOCUMENT, 4 if piece[16] & CHECKSUM_PRESENT else 0, None
    if header.opcode == Opcode.REPLY:
        return _REPLY_DOCUMENT, 0, None
    return 0, 0, f"the server sent a message with opcode {header.opcode}"
