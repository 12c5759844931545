"""Facts of a server's reply *message*, whole or in pieces: header, flags and what `rawbson.scan` finds in its document."""

from __future__ import annotations

from ..rawbson.scan import ReplyFacts


class MessageScanner:
    """Scans one reply message (OP_MSG or OP_REPLY) from its first header byte on, in pieces of any size.

    The first piece must hold the header and, in an OP_MSG, its flagBits (as `wire.reader.PieceReader` gives them).
    """

    def feed(self, piece: bytes) -> None:
        """The next bytes of the message."""
        raise NotImplementedError

    def finish(self) -> ReplyFacts:
        """The facts, once every byte was fed."""
        raise NotImplementedError


def scan_message(raw: bytes) -> ReplyFacts:
    """The facts of a reply message that is whole in one buffer: the fast way."""
    raise NotImplementedError
