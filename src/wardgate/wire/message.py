"""Messages as values over the bytes they came in.

A parsed message holds the original bytes and offsets into them; nothing is copied and no BSON value is decoded.
`parse_request` is the door for attacker bytes. It knows OP_MSG and, for handshakes, OP_QUERY commands.

Law: what `parse_request` gives has exactly one kind-0 document, known section kinds only, section lengths that add up
to the message, a verified checksum if there is one, and a kind-0 document that is sound all the way down. The documents
of kind-1 sections are measured one by one but not opened: they are the application's data, megabytes of it, and the
server opens them itself. Everything else is a `RemoteProtocolError`, whatever the bytes are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple, TypeAlias

import google_crc32c

from ..rawbson import build, walk
from ..rawbson.walk import BsonError
from .errors import LocalProtocolError, MongoCode, RemoteProtocolError, error_document
from .header import HEADER, HEADER_BYTES, Header, Opcode, build_msg, build_reply

__all__ = [
    "CHECKSUM_PRESENT",
    "EXHAUST_ALLOWED",
    "MORE_TO_COME",
    "OpMsg",
    "OpQuery",
    "OpReply",
    "Reply",
    "Request",
    "Sequence",
    "build_msg",
    "build_reply",
    "parse_reply",
    "parse_request",
    "refusal",
    "split_sections",
]

CHECKSUM_PRESENT: Final = 1
MORE_TO_COME: Final = 1 << 1
EXHAUST_ALLOWED: Final = 1 << 16
QUERY_FAILURE: Final = 2  # an OP_REPLY's flag

UNKNOWN_REQUIRED: Final = 0xFFFC  # bits 2 to 15: who does not know one must not go on (OP_MSG specification)
_MSG_BODY: Final = 21  # a kind-0 section that comes first has its document here
SEQUENCES_MAX: Final = 16  # no command has more than two
_OPENING: Final = struct.Struct("<iiiiIB").unpack_from
_UINT32: Final = struct.Struct("<I").unpack_from
_INT32: Final = struct.Struct("<i").unpack_from
_REPLY_HEAD: Final = struct.Struct("<Iqii").unpack_from
_REPLY_BODY: Final = 36


class Sequence(NamedTuple):
    """A kind-1 section: so many documents under `identifier`, at raw[start:end] one behind the other."""

    identifier: str
    start: int
    end: int
    documents: int


@dataclass(frozen=True, slots=True)
class OpMsg:
    """An OP_MSG. `raw` is the whole message as it came; the kind-0 document is raw[body_start:body_end]."""

    raw: bytes = field(repr=False)  # the client's data: never in a log
    request_id: int
    response_to: int
    flags: int
    body_start: int
    body_end: int
    sequences: tuple[Sequence, ...] = ()

    legacy: ClassVar[bool] = False

    @property
    def body(self) -> bytes:
        """The kind-0 document."""
        return self.raw[self.body_start : self.body_end]

    @property
    def size(self) -> int:
        """Of the message that was sent, in bytes; `raw` may be an outline of it."""
        length: int = _INT32(self.raw)[0]
        return length

    @property
    def more_to_come(self) -> bool:
        """On a request: no reply will ever come. On a reply: another one follows."""
        return bool(self.flags & MORE_TO_COME)

    @property
    def exhaust_allowed(self) -> bool:
        """The client takes a chain of replies."""
        return bool(self.flags & EXHAUST_ALLOWED)

    @property
    def checksum_present(self) -> bool:
        """The last four bytes of `raw` are a crc32c (verified)."""
        return bool(self.flags & CHECKSUM_PRESENT)


@dataclass(frozen=True, slots=True)
class OpQuery:
    """An OP_QUERY command on ``<database>.$cmd``. The command document is raw[body_start:body_end].

    Where that document stood inside ``{$query: …}``, `outer_start` is where the wrapper begins; else it equals
    `body_start`. `outer_end` likewise.
    """

    raw: bytes = field(repr=False)  # the client's data: never in a log
    request_id: int
    response_to: int
    flags: int
    namespace: str
    body_start: int
    body_end: int
    outer_start: int
    outer_end: int

    legacy: ClassVar[bool] = True
    more_to_come: ClassVar[bool] = False
    exhaust_allowed: ClassVar[bool] = False
    sequences: ClassVar[tuple[Sequence, ...]] = ()

    @property
    def body(self) -> bytes:
        """The command document."""
        return self.raw[self.body_start : self.body_end]

    @property
    def size(self) -> int:
        """Of the message, in bytes."""
        return len(self.raw)

    @property
    def wrapped(self) -> bool:
        """The command stood in ``{$query: …}``."""
        return self.outer_start != self.body_start

    @property
    def database(self) -> str:
        """From the namespace; an OP_QUERY command has no `$db`."""
        return self.namespace.partition(".")[0]


@dataclass(frozen=True, slots=True)
class OpReply:
    """An OP_REPLY with exactly one document, at raw[body_start:body_end]."""

    raw: bytes = field(repr=False)  # the client's data: never in a log
    request_id: int
    response_to: int
    flags: int
    cursor_id: int
    body_start: int
    body_end: int

    legacy: ClassVar[bool] = True
    more_to_come: ClassVar[bool] = False

    @property
    def body(self) -> bytes:
        """The one document."""
        return self.raw[self.body_start : self.body_end]


Request: TypeAlias = OpMsg | OpQuery
Reply: TypeAlias = OpMsg | OpReply


def parse_request(raw: bytes, *, max_depth: int = walk.MAX_DEPTH) -> Request:
    """Read a client's whole message.

    Raises RemoteProtocolError: answer it with `refusal` where it has a `mongo_code`, else close the connection. Raises
    LocalProtocolError where `raw` is not what its own header says, because cutting the stream was ours to do.
    """
    header = _header(raw)
    if header.opcode == Opcode.MSG:
        return _parse_msg(raw, header, max_depth)
    if header.opcode == Opcode.QUERY:
        return _parse_query(raw, header, max_depth)
    if header.opcode == Opcode.COMPRESSED:
        # Unreadable as it is, it can't even tell whether it has a reply slot.
        raise RemoteProtocolError("compression_not_negotiated", "A compressed message came, but none was negotiated.")
    raise RemoteProtocolError("unknown_opcode", f"Messages with opcode {header.opcode} are not accepted.")


def parse_reply(raw: bytes) -> Reply:
    """Read a server's whole message; for hello and login replies, which are small. Raises as `parse_request` does."""
    header = _header(raw)
    if header.opcode == Opcode.MSG:
        return _parse_msg(raw, header, walk.MAX_DEPTH)
    if header.opcode == Opcode.REPLY:
        return _parse_op_reply(raw, header)
    raise RemoteProtocolError("unknown_opcode", f"The server sent a message with opcode {header.opcode}.")


def split_sections(raw: bytes) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """The kind-0 document and the document sequences of a whole OP_MSG, as a record keeps them. Documents and checksum
    are not checked again. Raises RemoteProtocolError."""
    header = _header(raw)
    if header.opcode != Opcode.MSG or len(raw) < 20:
        raise RemoteProtocolError("unknown_opcode", f"A message with opcode {header.opcode} has no sections.")
    end = len(raw) - (4 if _UINT32(raw, HEADER_BYTES)[0] & CHECKSUM_PRESENT else 0)
    start, stop, sequences = _sections(raw, end)
    return raw[start:stop], tuple((each.identifier, raw[each.start : each.end]) for each in sequences)


def refusal(raw: bytes, code: int, message: str, request_id: int) -> bytes | None:
    """The error reply to a message that `parse_request` refused, in its dialect; None if it has no reply slot."""
    header = _header(raw)
    if code == MongoCode.LEGACY_OPCODE:
        # No command, so the error has the shape of a failed query, as mongod's own.
        parts = (build.string(b"$err", message), build.int32(b"code", code), build.double(b"ok", 0.0))
        return build_reply(build.document(parts), request_id, header.request_id, QUERY_FAILURE)
    document = error_document(code, None, message)
    if header.opcode == Opcode.QUERY:
        return build_reply(document, request_id, header.request_id)
    if header.opcode != Opcode.MSG or len(raw) < 20 or _UINT32(raw, HEADER_BYTES)[0] & MORE_TO_COME:
        return None
    return build_msg(document, request_id, header.request_id)


def _header(raw: bytes) -> Header:
    if len(raw) < HEADER_BYTES:
        raise LocalProtocolError("short_message", "A message is shorter than its header.")
    header = Header._make(HEADER.unpack_from(raw))
    if header.length != len(raw):
        raise LocalProtocolError("wrong_length", "A message is not as long as its header says.")
    return header


def _parse_msg(raw: bytes, header: Header, max_depth: int) -> OpMsg:
    size = len(raw)
    if size < _MSG_BODY + walk.MIN_DOCUMENT:
        raise RemoteProtocolError("short_message", "An OP_MSG is too short to hold a document.")
    _, _, _, _, flags, kind = _OPENING(raw)
    if flags & UNKNOWN_REQUIRED:
        raise RemoteProtocolError("unknown_flag", "An OP_MSG has a required flag bit that is not known.")
    end = size
    if flags & CHECKSUM_PRESENT:
        end -= 4
        if google_crc32c.value(raw[:end]) != _UINT32(raw, end)[0]:
            raise RemoteProtocolError("wrong_checksum", "An OP_MSG's checksum is wrong.")
    if kind == 0 and _INT32(raw, _MSG_BODY)[0] == end - _MSG_BODY:
        start, stop, sequences = _MSG_BODY, end, _NO_SEQUENCES  # one section: nearly every command
    else:
        start, stop, sequences = _sections(raw, end)
    _check_body(raw, start, stop, max_depth)
    return OpMsg(raw, header.request_id, header.response_to, flags, start, stop, sequences)


_NO_SEQUENCES: Final[tuple[Sequence, ...]] = ()


def _sections(raw: bytes, end: int) -> tuple[int, int, tuple[Sequence, ...]]:
    body: tuple[int, int] | None = None
    sequences: list[Sequence] = []
    pos = 20
    while pos < end:
        kind = raw[pos]
        if kind == 0:
            if body is not None:
                raise _refused("repeated_body", "An OP_MSG has more than one kind-0 section.", MongoCode.REPEATED_BODY)
            stop = _document_end(raw, pos + 1, end)
            body = (pos + 1, stop)
            pos = stop
        elif kind == 1:
            sequence = _sequence(raw, pos + 1, end)
            if any(sequence.identifier == other.identifier for other in sequences) or len(sequences) >= SEQUENCES_MAX:
                raise _refused(
                    "repeated_sequence",
                    f"The document sequence {sequence.identifier!r} stands twice.",
                    MongoCode.REPEATED_SEQUENCE,
                )
            sequences.append(sequence)
            pos = sequence.end
        else:
            raise _refused("unknown_section", f"Unknown section kind {kind}.", MongoCode.UNKNOWN_SECTION)
    if body is None:
        raise _refused("no_body", "An OP_MSG has no kind-0 section.", MongoCode.NO_BODY)
    return body[0], body[1], tuple(sequences)


def _sequence(raw: bytes, start: int, end: int) -> Sequence:
    if end - start < 5:
        raise _invalid("a section is cut")
    stop: int = start + _INT32(raw, start)[0]
    name_end = raw.find(0, start + 4, min(stop, end))
    if stop > end or name_end < 0:
        raise _invalid("a section's length is impossible")
    try:
        identifier = raw[start + 4 : name_end].decode()
    except UnicodeDecodeError as error:
        raise _invalid("a section's name is not UTF-8") from error
    first = name_end + 1
    return Sequence(identifier, first, stop, _count_documents(raw, first, stop))


def _count_documents(raw: bytes, pos: int, end: int) -> int:
    count = 0
    unpack = _INT32
    try:
        while pos < end:
            length = unpack(raw, pos)[0]
            pos += length
            if length < walk.MIN_DOCUMENT or raw[pos - 1]:
                raise _invalid("a document in a sequence has an impossible length or no end")
            count += 1
    except (struct.error, IndexError) as error:
        raise _invalid("a document in a sequence is cut") from error
    if pos != end:
        raise _invalid("a sequence's documents do not fill it")
    return count


def _parse_query(raw: bytes, header: Header, max_depth: int) -> OpQuery:
    size = len(raw)
    name_end = raw.find(0, 20)
    start = name_end + 9  # behind numberToSkip and numberToReturn
    if name_end < 0 or size - start < walk.MIN_DOCUMENT:
        raise RemoteProtocolError("short_message", "An OP_QUERY is cut.")
    try:
        namespace = raw[20:name_end].decode()
    except UnicodeDecodeError as error:
        raise _refused("bad_namespace", "A namespace is not UTF-8.", MongoCode.INVALID_NAMESPACE) from error
    stop = _document_end(raw, start, size)
    if stop != size and _document_end(raw, stop, size) != size:  # a field selector may follow
        raise _invalid("bytes follow the query")
    _check_body(raw, start, stop, max_depth)
    if not namespace.endswith(".$cmd"):
        raise _refused(
            "legacy_query",
            "OP_QUERY is no longer supported. The client driver may require an upgrade.",
            MongoCode.LEGACY_OPCODE,
        )
    body_start, body_end = _unwrap(raw, start, stop)
    flags = _UINT32(raw, HEADER_BYTES)[0]
    return OpQuery(raw, header.request_id, header.response_to, flags, namespace, body_start, body_end, start, stop)


def _unwrap(raw: bytes, start: int, stop: int) -> tuple[int, int]:
    """The command inside ``{$query: {…}}``, or the document itself. mongod looks at the first field only."""
    for kind, name, value, value_stop in walk.elements(raw, start, stop):
        if name in (b"$query", b"query") and kind == walk.DOCUMENT:
            return value, value_stop
        break
    return start, stop


def _parse_op_reply(raw: bytes, header: Header) -> OpReply:
    if len(raw) < _REPLY_BODY + walk.MIN_DOCUMENT:
        raise RemoteProtocolError("short_message", "An OP_REPLY is too short to hold a document.")
    flags, cursor_id, _, returned = _REPLY_HEAD(raw, HEADER_BYTES)
    if returned != 1:
        raise RemoteProtocolError("wrong_reply", "An OP_REPLY to a command has other than one document.")
    _check_body(raw, _REPLY_BODY, len(raw), walk.MAX_DEPTH)
    return OpReply(raw, header.request_id, header.response_to, flags, cursor_id, _REPLY_BODY, len(raw))


def _check_body(raw: bytes, start: int, stop: int, max_depth: int) -> None:
    try:
        walk.validate(raw, start, stop, max_depth=max_depth)
    except walk.DepthError as error:
        raise _refused("too_deep", f"The command is refused: {error}.", MongoCode.OVERFLOW) from error
    except BsonError as error:
        raise _invalid(str(error)) from error


def _document_end(raw: bytes, start: int, end: int) -> int:
    try:
        return walk.document_end(raw, start, end)
    except BsonError as error:
        raise _invalid(str(error)) from error


def _invalid(what: str) -> RemoteProtocolError:
    return _refused("invalid_bson", f"The message is malformed: {what}.", MongoCode.INVALID_BSON)


def _refused(code: str, message: str, mongo_code: MongoCode) -> RemoteProtocolError:
    return RemoteProtocolError(code, message, mongo_code)
