"""Facts of a server's reply message, whole or in pieces: header, flags and what `rawbson.scan` finds in its document.

It serves the way back to the client, where bytes are passed on while they come. Law: never raises for what the bytes
are; a message that is no reply at all has its facts marked `malformed`.
"""

from __future__ import annotations

import struct
from typing import Final

from ..rawbson.scan import ReplyFacts, ReplyScanner
from .header import HEADER_BYTES, Header, Opcode, header_of
from .message import CHECKSUM_PRESENT, MORE_TO_COME

_MSG_DOCUMENT: Final = 21
_REPLY_DOCUMENT: Final = 36
_UINT32: Final = struct.Struct("<I").unpack_from


class MessageScanner:
    """Scans one reply message from its first header byte on, in pieces of any size.

    The first piece must hold the header and, in an OP_MSG, its flagBits (as `wire.reader.PieceReader` gives them).
    """

    __slots__ = ("_left", "_scanner", "_skip", "_wrong", "header", "more_to_come")

    def __init__(self) -> None:
        self.header: Header | None = None
        self.more_to_come = False  # another reply to the same request follows
        self._scanner = ReplyScanner()
        self._wrong: str | None = None
        self._skip = 0  # bytes before the document that have not come
        self._left = 0  # bytes of the document that have not come; a checksum may follow it

    def feed(self, piece: bytes) -> None:
        """The next bytes of the message."""
        if self.header is None:
            self._begin(piece)
        if self._wrong is not None:
            return
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
        return self._scanner.finish()

    def _begin(self, piece: bytes) -> None:
        if len(piece) < HEADER_BYTES:
            self._wrong = "the reply has no header"
            return
        self.header = header_of(piece)
        self._skip, tail, self._wrong = _layout(piece, self.header)
        self._left = max(0, self.header.length - self._skip - tail)
        if self.header.opcode == Opcode.MSG and self._wrong is None:
            self.more_to_come = bool(_UINT32(piece, HEADER_BYTES)[0] & MORE_TO_COME)


def scan_message(raw: bytes) -> ReplyFacts:
    """The facts of a reply message that is whole in one buffer: the fast way."""
    scanner = ReplyScanner()
    if len(raw) < HEADER_BYTES:
        return ReplyFacts(malformed="the reply has no header")
    document, tail, wrong = _layout(raw, header_of(raw))
    if wrong is not None:
        return ReplyFacts(malformed=wrong)
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
