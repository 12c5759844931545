"""One request and its replies while they last, and how they are told to the audit log."""

from __future__ import annotations

from typing import Final

from ..audit.records import CommandIntent, CommandOutcome
from ..command.facts import Command
from ..command.masking import Redactor
from ..command.placeholders import TEXT
from ..rawbson.scan import ReplyFacts
from ..wire.compression import Compressor, Deflater
from ..wire.header import HEADER_BYTES, Opcode
from ..wire.hello import HelloRequest
from ..wire.message import MORE_TO_COME, OpMsg, Request
from ..wire.reader import Piece
from ..wire.replies import MessageScanner, scan_message
from .upload import Upload, recorded_of

# A list of operations is read besides being passed on, if it is not longer than this.
_LIST_BYTES: Final = 4 * 1024 * 1024
# hello replies are collected to be rewritten; those of a set of 50 members with long tags stay below.
HELLO_REPLY_BYTES: Final = 256 * 1024
# Replies beyond this go to the client as they are: a compressed one has to be held, since its length comes first.
PACKED_BYTES: Final = 4 * 1024 * 1024


_TRANSACTION_ENDS: Final = frozenset({"abortTransaction", "commitTransaction"})
# Stages that let the rows of $currentOp through as they are; any other could make rows up.
_FAITHFUL: Final = frozenset({"$match", "$limit", "$skip", "$sort"})


def _lists_operations(command: Command) -> bool:
    """Whether the reply is MongoDB's own word on who runs what."""
    if command.name != "aggregate":
        return command.name == "currentOp"
    stages = command.stages
    return bool(stages) and stages[0] == "$currentOp" and _FAITHFUL.issuperset(stages[1:])


class Turn:
    """The request in hand. `hello` is set for a hello, which is counted and not recorded.

    `expects` is the responseTo of the next reply (a chain's replies answer each other), `begun` whether bytes of the
    newest reply were passed on before its end, `more` whether another one follows, `chained` whether one came before.
    `upload` is set while the request is streamed, `rest` is its last part while that waits, `compressor` is what the
    request came in. `outgoing` is the request as the server gets it, before it is compressed.
    """

    __slots__ = (
        "begun",
        "chained",
        "command",
        "compressor",
        "continues",
        "deflater",
        "expects",
        "hello",
        "intent_seq",
        "lists_operations",
        "masked",
        "more",
        "outgoing",
        "parts",
        "redactor",
        "reply_id",
        "request",
        "rest",
        "scanner",
        "size",
        "started",
        "upload",
    )

    def __init__(self, request: Request, command: Command, hello: HelloRequest | None, started: float) -> None:
        self.request = request
        self.outgoing = request.raw
        self.command = command
        self.hello = hello
        self.started = started
        self.expects = request.request_id
        self.intent_seq = -1
        self.continues: int | None = None
        self.masked = False
        self.redactor: Redactor | None = None
        self.chained = False
        self.begun = False
        self.more = False
        self.reply_id = 0
        self.size = 0
        self.scanner: MessageScanner | None = None
        self.parts: list[bytes] = []  # of a reply that is collected: to be rewritten, or to be read
        self.lists_operations = _lists_operations(command)
        self.upload: Upload | None = None
        self.rest = b""
        self.compressor: Compressor | None = None
        self.deflater: Deflater | None = None  # of the reply under way

    def intent(
        self, connection: int, client_app: str | None, redactor: Redactor, continues: int | None = None
    ) -> CommandIntent:
        """The record that precedes the request; `continues` is the intent that opened the cursor which it reads."""
        self.continues = continues
        command, request = self.command, self.request
        self.redactor = redactor
        recorded, streamed = recorded_of(command, self.upload, redactor)
        body, sequences, masked = recorded
        self.masked = bool(masked)
        return CommandIntent(
            connection,
            request.request_id,
            command.database,
            command.collection,
            command.name,
            command.effect.value,
            body,
            request.size,
            sequences,
            None,
            client_app,
            masked,
            streamed,
            continues,
        )

    def begin_reply(self, piece: Piece) -> str | None:
        """Check the head of a reply; what is wrong with it, or None."""
        header, data, _ = piece
        assert header is not None
        if header.response_to != self.expects:
            return "a reply answers another request than the one that waits"
        plain = type(self.request) is OpMsg
        if header.opcode != (Opcode.MSG if plain else Opcode.REPLY):
            return f"a reply has the opcode {header.opcode}"
        self.more = plain and len(data) > 16 and bool(data[16] & MORE_TO_COME)
        if self.more and not self.request.exhaust_allowed:
            return "a chain of replies came that the client did not allow"
        if header.length > HELLO_REPLY_BYTES and self.hello is not None:
            return "a hello reply is far too long"
        self.begun = False
        self.size = header.length
        self.reply_id = header.request_id
        return None

    def read(self, piece: Piece) -> ReplyFacts | None:
        """Scan a piece of a reply that is passed on; its facts once it is whole."""
        if self.lists_operations and self.size <= _LIST_BYTES:
            self.parts.append(piece.data)
        if piece.last and piece.header is not None:
            return scan_message(piece.data)
        if self.scanner is None:
            self.scanner = MessageScanner()
        self.scanner.feed(piece.data)
        if not piece.last:
            self.begun = True
            return None
        scanner, self.scanner = self.scanner, None
        return scanner.finish()

    def deflate(self, piece: Piece) -> bytes | None:
        """Compress a piece of a reply, if it is one that is compressed: nothing until it is whole, then all of it."""
        data = piece.data
        if piece.header is not None:
            fits = piece.header.length <= PACKED_BYTES
            self.deflater = Deflater(self.compressor, piece.header) if fits and self.compressor is not None else None
            data = data[HEADER_BYTES:]
        if self.deflater is None:
            return None
        self.begun = False
        self.deflater.feed(data)
        return self.deflater.finish() if piece.last else b""

    def collect(self, piece: Piece) -> bytes | None:
        """Keep a piece of a reply that is rewritten; the reply once it is whole."""
        self.parts.append(piece.data)
        if not piece.last:
            return None
        return self.collected()

    def collected(self) -> bytes:
        """The pieces that were kept; they are forgotten with that."""
        raw = b"".join(self.parts)
        self.parts.clear()
        return raw

    def end_reply(self) -> bool:
        """A reply is whole. Whether another one follows."""
        if self.more:
            self.chained = True
            self.expects = self.reply_id
        return self.more

    def outcome(self, facts: ReplyFacts, now: float) -> CommandOutcome:
        """The record that precedes the end of a reply. An error's text may quote a secret of a masked command."""
        code = facts.code
        if code is None:
            code = facts.write_error_code if facts.write_error_code is not None else facts.write_concern_code
        return CommandOutcome(
            self.intent_seq,
            facts.ok,
            code,
            facts.documents,
            self.size,
            int((now - self.started) * 1e6),
            False,
            self._shown(facts.errmsg),
            self.more,
            facts.n_modified,
            facts.upserted,
            facts.write_errors,
        )

    def _shown(self, text: str | None) -> str | None:
        if text is None or self.redactor is None:
            return text
        return TEXT if self.masked else self.redactor.error(text, self.command)

    def interruption(self) -> tuple[str, ...]:
        """The labels that MongoDB gives a command which a step-down interrupts; none where no driver goes on by them.

        They are for what can be said twice: a retryable write, and the statements of a transaction.
        """
        command = self.command
        if command.txn_number is None:
            return ()
        if command.in_transaction and command.name not in _TRANSACTION_ENDS:
            return ("TransientTransactionError",)
        return ("RetryableWriteError",)

    def cut_off(self, error: str | None, now: float, *, unacknowledged: bool = False) -> CommandOutcome:
        """The record of a command of which no further reply will tell."""
        return CommandOutcome(
            intent_seq=self.intent_seq,
            ok=None,
            bytes_out=self.size,
            duration_us=int((now - self.started) * 1e6),
            unacknowledged=unacknowledged,
            error=error,
        )
