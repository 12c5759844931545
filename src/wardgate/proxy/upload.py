"""A request that is too large to be held: a small machine for the time from its first byte to its last.

It takes the request's bytes from the client's stream, opens them if they are compressed, and first of all decides what
is to become of them (`Route`). What carries the application's documents is passed on in parts while it comes, and read
on the way for what must be known of it; anything else is held until it is whole, within the limit that MongoDB sets to
a command itself, and then is a request like any other. A part is sealed for the record before it is passed on.

It is not the connection: whether the request may run, where it goes and what is answered is decided there.

Law: the last part is given out only when everything before it has been read, so a server can never run a request of
which something is unknown. What is held is bounded by the size of a part and the bytes of one read, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

from ..audit.parts import PartSealer
from ..audit.records import Streamed, UploadPart
from ..audit.records import Upload as UploadRecord
from ..command.facts import CARRIES, HINT, Command, carries_documents, parse
from ..command.masking import Masking, Redactor
from ..command.placeholders import withheld as withheld_body
from ..command.sensitive import Recorded
from ..wire.compression import Compressor, Inflater, Wrapped
from ..wire.errors import MongoCode, RemoteProtocolError
from ..wire.header import HEADER, Header, Opcode
from ..wire.message import OpMsg
from ..wire.reader import MessageReader
from ..wire.sections import SectionReader
from .masked_parts import MaskedParts

WHOLE_BYTES: Final = 256 * 1024  # a request up to this length is held; nearly all are
BODY_BYTES: Final = 16 * 1024 * 1024 + 16 * 1024  # of a command itself: mongod's own limit
_BESIDE_BYTES: Final = 2 * 1024 * 1024  # of a streamed command, beside its documents
_NEW_RULES: Final = "a masking rule was made while it came"
_HEAD_BYTES: Final = 512  # within these stands how the message begins: its flags, first section, first field
_STEP_BYTES: Final = 256 * 1024  # taken from the stream at once


class Route(Enum):
    """What becomes of the request's bytes."""

    UNKNOWN = auto()  # not enough of them are here
    WHOLE = auto()  # held until it is whole
    PASS = auto()  # recorded and passed on in parts
    TOO_LARGE = auto()  # it can't be held and carries no documents: mongod would not take it either


class Refusal(NamedTuple):
    """Why the request is not carried out. `end` is why the connection ends with the answer; None: it goes on."""

    rule: str
    code: int
    message: str
    end: str | None = None
    labels: tuple[str, ...] = ()


class Upload:
    """One request on its way."""

    __slots__ = (
        "_held",
        "_inflated",
        "_inflater",
        "_masked",
        "_missing",
        "_part_bytes",
        "_reader",
        "_sealer",
        "_size",
        "command",
        "compressor",
        "connected",
        "error",
        "forwarded",
        "header",
        "judged",
        "opened",
        "refusal",
        "request",
        "route",
        "spoiled",
    )

    def __init__(
        self, wire: Header, wrapped: Wrapped | None, key: bytes, part_bytes: int, rules: Masking | None = None
    ) -> None:
        """`wire` is the header on the wire, `wrapped` what it says if it is compressed, `key` is for this one only;
        `rules` mask what is recorded.

        What is held of it is more than `part_bytes` only by what comes at once.
        """
        self.header = wire if wrapped is None else wrapped.header
        self.compressor: Compressor | None = None if wrapped is None else wrapped.compressor
        self.route = Route.UNKNOWN
        self.opened = -1  # the sequence number of its record
        self.connected = False  # the server connection is there, greeted and logged in
        self.forwarded = False  # some of it went to the server
        self.judged = False  # `command` was, as far as it tells
        self.refusal: Refusal | None = None
        self.error: RemoteProtocolError | None = None  # what is wrong with its bytes
        self.spoiled = False  # and that was dealt with: the rest of them is not kept
        self.request = OpMsg(HEADER.pack(*self.header), self.header.request_id, self.header.response_to, 0, 0, 0)
        self.command: Command | None = None  # as far as its kind-0 section tells, once that is here
        self._missing = wire.length
        self._part_bytes = part_bytes
        self._inflater = None if wrapped is None else Inflater(wrapped)
        self._inflated: Iterator[bytes] = iter(())
        self._masked = None if rules is None else MaskedParts(rules, self._known)
        self._reader = SectionReader(CARRIES, HINT, _BESIDE_BYTES, self._masked)
        self._sealer = PartSealer(key)
        self._held: list[bytes] = []
        self._size = 0  # of what is held

    @property
    def whole(self) -> bool:
        """Whether all of it is here."""
        return not self._missing and self._inflater is None

    @property
    def missing(self) -> int:
        """How many bytes of it, as they are on the wire, have not been taken."""
        return self._missing

    def step(self, stream: MessageReader) -> int:
        """Take the next bytes; how many, 0 where none are here. What is wrong with them stands in `error` then."""
        if self._inflater is None or self.error is not None:
            data = stream.some(min(self._missing, _STEP_BYTES))
            self._missing -= len(data)
            self._inflater = None
        else:
            try:
                data = self._inflate(self._inflater, stream)
            except RemoteProtocolError as error:
                self.error = error
                return 0
        if self.error is not None:
            return len(data)
        if data:
            self._held.append(data)
            self._size += len(data)
        if self.route is Route.UNKNOWN:
            self._choose()  # without data too: a compressed one may end before there is much of it
        elif data and self.route is Route.PASS:
            self._read(data)
        return len(data)

    def _inflate(self, inflater: Inflater, stream: MessageReader) -> bytes:
        while True:
            data = next(self._inflated, b"")
            if data or not self._missing:
                break
            wire = stream.some(min(self._missing, _STEP_BYTES))
            if not wire:
                return b""
            self._missing -= len(wire)
            self._inflated = inflater.feed(wire, last=not self._missing)
        if not data:
            self._inflater = None
        return data

    def _choose(self) -> None:
        """Find out how the message begins, and with it what becomes of it."""
        if self._size < _HEAD_BYTES and not self.whole:
            return
        head = b"".join(self._held)
        self._held = [head]
        self.route = _route(self.header, head)
        if self.header.opcode == Opcode.MSG:
            flags = int.from_bytes(head[16:20], "little")
            self.request = OpMsg(self.request.raw, self.header.request_id, self.header.response_to, flags, 0, 0)
        if self.route is Route.PASS:
            self._read(head)
        elif self.route is Route.TOO_LARGE:
            self.error = _too_large(self.header)

    def _read(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            self._known()
        except RemoteProtocolError as error:
            self.error = error

    def _known(self) -> Command | None:
        """The command, as soon as it is known. Raises RemoteProtocolError."""
        if self.command is None and self._reader.body_known:
            self.command = parse(self._reader.outline())
        return self.command

    def raw(self) -> bytes:
        """All of a request that was held, which is forgotten here."""
        return self.rest()

    # --- a request that is passed on --------------------------------------------------------------------------------

    def record(self, connection: int) -> UploadRecord:
        """The record that precedes its first byte."""
        return UploadRecord(connection, self.header.request_id, self.header.length)

    def parts(self) -> Iterator[bytes]:
        """What may be given out now; never the end of it, which is `rest`."""
        if self._size > self._part_bytes:
            last = self._held.pop()
            if self._held:
                yield b"".join(self._held)
            self._held = [last]
            self._size = len(last)

    def rest(self) -> bytes:
        """The last part, once it is `whole`."""
        last = b"".join(self._held)
        self._held.clear()
        return last

    def drop(self) -> None:
        """Forget what is held: nobody will want it."""
        self._held.clear()
        self._size = 0

    def seal(self, part: bytes) -> Iterator[UploadPart]:
        """The records of a part: of its bytes as they are, or of the documents that it has brought, masked."""
        for data in (part,) if self._masked is None else self._masked.ready():
            yield self._sealer.seal(self.opened, data)

    def finish(self) -> Command:
        """The whole command. Its request is an outline: it has the documents' sections, empty. Raises
        RemoteProtocolError."""
        if self.error is not None:
            raise self.error
        self.command = parse(self._reader.finish(), hinted=self._reader.hinted)
        return self.command

    def recorded(self, redactor: Redactor, command: Command) -> tuple[Recorded, Streamed]:
        """What the record that ends it shows itself, and where the rest is."""
        recorded = redactor.record(command)
        if self._masked is not None:
            recorded = self._masked.recorded(recorded, redactor.rules)
            withheld = recorded.masked == ("*",)
            return recorded, self._sealer.streamed(self.opened, withheld=withheld, masked=not withheld)
        if redactor.rules is not None:
            return Recorded(withheld_body(recorded.body, _NEW_RULES), (), ("*",)), self._sealer.streamed(
                self.opened, withheld=True
            )
        if recorded.masked:
            return recorded, self._sealer.streamed(self.opened, withheld=True)
        return Recorded(b"", (), ()), self._sealer.streamed(self.opened, withheld=False)


def _route(header: Header, head: bytes) -> Route:
    """What becomes of a message that begins with `head`."""
    if header.opcode == Opcode.MSG and len(head) >= _HEAD_BYTES:
        begins_with_documents = head[20] == 1
        name = head[26 : head.find(0, 26)]  # of the first field of a kind-0 section
        if begins_with_documents or (head[20] == 0 and carries_documents(name)):
            return Route.PASS
    return Route.WHOLE if header.length <= BODY_BYTES + _HEAD_BYTES else Route.TOO_LARGE


def _too_large(header: Header) -> RemoteProtocolError:
    message = f"The command is too large: its message has {header.length} bytes, a command at most {BODY_BYTES} (16MB)."
    answerable = header.opcode == Opcode.MSG
    return RemoteProtocolError("large_command", message, MongoCode.BSON_OBJECT_TOO_LARGE if answerable else None)


def recorded_of(command: Command, upload: Upload | None, redactor: Redactor) -> tuple[Recorded, Streamed | None]:
    """What a record shows of a command; `upload` if it was streamed."""
    return (redactor.record(command), None) if upload is None else upload.recorded(redactor, command)
