"""A large OP_MSG, read while it comes: what must be known of it, and no more kept.

It serves requests that are passed on in pieces. Of the kind-0 document everything is kept but the arrays that carry the
application's data; of kind-1 sections the documents are measured one by one and stepped over. What is left is an
*outline*: an `OpMsg` with the same header, the same fields in the same order and the same sections, only that what was
stepped over is empty in it. So whoever understands whole messages understands outlines.

Law: the outline tells everything that `message.parse_request` would check of the whole message (sections, lengths that
add up, checksum, a sound kind-0 document), but for the inside of what was stepped over, which is the application's data
and which the server opens itself. Bytes are kept up to `limit`; a message with more beside its data is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Generator
from typing import Final, Protocol

import google_crc32c

from ..rawbson import build, walk
from .errors import MongoCode, RemoteProtocolError
from .header import HEADER, HEADER_BYTES
from .message import CHECKSUM_PRESENT, SEQUENCES_MAX, UNKNOWN_REQUIRED, OpMsg, Sequence, parse_request

_INT32: Final = struct.Struct("<i").unpack_from
_UINT32: Final = struct.Struct("<I").unpack_from
_FIRST: Final = HEADER_BYTES + 4
_NAME_BYTES: Final = 1024  # of a field or section; a longer one is data that pretends to be a name
_EMPTY_ARRAY: Final = b"\x05\0\0\0\0"
_WATCHED_BYTES: Final = 1024 * 1024  # a longer document is not gathered for who watches
_TAIL: Final = 16  # of a piece, kept so that a hint which is cut in two is found

# Reads from the message as its bytes come; yields where it needs more.
_Steps = Generator[None, None, None]


class Watch(Protocol):
    """Who wants to see what is stepped over."""

    def section(self, name: bytes, first: bytes) -> None:
        """A section or array of documents begins; `first` is the body's first element, if that is known."""

    def documents(self, data: bytes) -> None:
        """Whole documents of it, one behind the other, with sound lengths and nothing else checked."""

    def unread(self) -> None:
        """Something of it can't be shown: a very long document, or no document."""


class SectionReader:
    """Reads one message from its first header byte on.

    `carries` names the arrays and sections that hold the application's data; `hint` is what to look for in the whole
    message, at most `_TAIL` bytes long. `watch` is shown what is not kept.
    """

    def __init__(
        self, carries: frozenset[bytes], hint: re.Pattern[bytes], limit: int, watch: Watch | None = None
    ) -> None:
        self._watch = watch
        self.hinted = False  # the hint was seen
        self.body_known = False  # the kind-0 section is behind us
        self._carries = carries
        self._hint = hint
        self._limit = limit
        self._head = b""
        self._body = b""
        self._sections: list[tuple[str, bytes, int]] = []  # identifier, the documents that are kept, how many there are
        self._kept = 0
        self._data = b""  # what is not read yet, from `_pos` on; the message's bytes from `_base` on
        self._pos = 0
        self._base = 0
        self._end = 0  # of the last section
        self._checksum: int | None = None
        self._seen = b""
        self._done = False
        self._steps = self._message()
        next(self._steps)

    def feed(self, piece: bytes) -> None:
        """The next bytes. Raises RemoteProtocolError; the reader is of no use then."""
        if not self.hinted:
            self._look(piece)
        if self._checksum is not None:
            self._sum(piece)
        self._base += self._pos
        self._data = self._data[self._pos :] + piece if self._pos < len(self._data) else piece
        self._pos = 0
        next(self._steps, None)

    def outline(self) -> OpMsg:
        """The message without what was stepped over, as far as it is read. Raises RemoteProtocolError."""
        raw = self._head + b"\0" + self._body
        sequences: list[Sequence] = []
        for identifier, documents, count in self._sections:
            name = identifier.encode() + b"\0"
            head = b"\x01" + struct.pack("<i", 4 + len(name) + len(documents)) + name
            start = len(raw) + len(head)
            raw += head + documents
            sequences.append(Sequence(identifier, start, start + len(documents), count))
        # Checked by the one door for messages; then the original length and flags are put back.
        _, request_id, response_to, opcode = HEADER.unpack_from(self._head)
        flags = _UINT32(self._head, HEADER_BYTES)[0]
        plain = HEADER.pack(len(raw), request_id, response_to, opcode) + struct.pack("<I", flags & ~CHECKSUM_PRESENT)
        parsed = parse_request(plain + raw[_FIRST:])
        assert isinstance(parsed, OpMsg)
        return OpMsg(raw, request_id, response_to, flags, parsed.body_start, parsed.body_end, tuple(sequences))

    def finish(self) -> OpMsg:
        """The outline of the whole message, once every byte was fed. Raises RemoteProtocolError."""
        if not self._done:
            raise _invalid("it ends within a section")
        if not self.body_known:
            raise _refused("no_body", "An OP_MSG has no kind-0 section.", MongoCode.NO_BODY)
        return self.outline()

    # --- beside the sections --------------------------------------------------------------------------------------

    def _look(self, piece: bytes) -> None:
        joint = self._seen + piece[:_TAIL]
        self.hinted = self._hint.search(piece) is not None or self._hint.search(joint) is not None
        self._seen = piece[-_TAIL:] if len(piece) >= _TAIL else (self._seen + piece)[-_TAIL:]

    def _sum(self, piece: bytes) -> None:
        """Add to the checksum what stands before it."""
        left = self._end - (self._base + len(self._data))
        if left > 0:
            self._checksum = google_crc32c.extend(self._checksum, piece[:left])

    # --- the message ----------------------------------------------------------------------------------------------

    def _message(self) -> _Steps:
        yield  # so that the first `feed` finds it waiting
        head = yield from self._take(_FIRST)
        self._head = head
        flags = _UINT32(head, HEADER_BYTES)[0]
        if flags & UNKNOWN_REQUIRED:
            raise RemoteProtocolError("unknown_flag", "An OP_MSG has a required flag bit that is not known.")
        self._end = _INT32(head)[0]
        if flags & CHECKSUM_PRESENT:
            self._end -= 4
            self._checksum = google_crc32c.value(head + self._data[self._pos : self._end - self._base])
        while self._at < self._end:
            kind = (yield from self._take(1))[0]
            if kind == 0:
                yield from self._kind_0()
            elif kind == 1:
                yield from self._kind_1()
            else:
                raise _refused("unknown_section", f"Unknown section kind {kind}.", MongoCode.UNKNOWN_SECTION)
        if self._checksum is not None and _UINT32((yield from self._take(4)))[0] != self._checksum:
            raise RemoteProtocolError("wrong_checksum", "An OP_MSG's checksum is wrong.")
        self._done = True

    def _kind_0(self) -> _Steps:
        if self.body_known:
            raise _refused("repeated_body", "An OP_MSG has more than one kind-0 section.", MongoCode.REPEATED_BODY)
        last = yield from self._document_end(self._end)
        parts: list[bytes] = []
        while self._at < last - 1:
            head = yield from self._until_known(_element_head, last - 1)
            kind, name = head[0], head[1 : head.index(0, 1)]
            value = head[len(name) + 2 :]
            size = walk.value_length(value, kind, 0, len(value))
            if size > last - 1 - (self._at - len(value)):
                raise _invalid("a value is cut")
            if kind == walk.ARRAY and name in self._carries:
                if self._watch is None:
                    yield from self._skip(size - len(value))
                else:
                    self._watch.section(name, parts[0] if parts else b"")
                    yield from self._elements(self._at + size - len(value), self._watch)
                parts.append(build.element(kind, name, _EMPTY_ARRAY))
            else:
                self._keep(size)
                value += yield from self._take(size - len(value))
                parts.append(build.element(kind, name, value))
        if (yield from self._take(1))[0]:
            raise _invalid("a document has no end")
        self._body = build.document(parts)
        self.body_known = True

    def _kind_1(self) -> _Steps:
        start = self._at
        size = _INT32((yield from self._take(4)))[0]
        stop = start + size
        if size < 5 or stop > self._end:
            raise _invalid("a section's length is impossible")
        name = (yield from self._until_known(_terminated, stop))[:-1]
        try:
            identifier = name.decode()
        except UnicodeDecodeError as error:
            raise _invalid("a section's name is not UTF-8") from error
        if any(identifier == other for other, _, _ in self._sections) or len(self._sections) >= SEQUENCES_MAX:
            message = f"The document sequence {identifier!r} stands twice."
            raise _refused("repeated_sequence", message, MongoCode.REPEATED_SEQUENCE)
        if name in self._carries:
            if self._watch is not None:
                self._watch.section(name, b"")
            self._sections.append((identifier, b"", (yield from self._documents(stop))))
            return
        self._keep(stop - self._at)
        documents = yield from self._take(stop - self._at)
        self._sections.append((identifier, documents, 0))

    def _documents(self, stop: int) -> Generator[None, None, int]:
        """Step over documents, one behind the other; how many."""
        count = 0
        while self._at < stop:
            # As many as lie in the piece at hand, in one loop: a message of 48 MB may have a million of them.
            data, pos, unpack = self._data, self._pos, _INT32
            last = min(len(data), stop - self._base)
            while last - pos >= walk.MIN_DOCUMENT:
                end = pos + unpack(data, pos)[0]
                if end > last:
                    break
                if end - pos < walk.MIN_DOCUMENT or data[end - 1]:
                    raise _invalid("a document in a sequence has an impossible length or no end")
                pos = end
                count += 1
            if self._watch is not None and pos > self._pos:
                self._watch.documents(data[self._pos : pos])
            self._pos = pos
            if self._at < stop:
                yield from self._document(stop)
                count += 1
        return count

    def _document(self, stop: int) -> _Steps:
        """Step over one document that goes beyond the piece at hand."""
        start = self._at
        end = yield from self._document_end(stop)
        watch = self._watch
        if watch is not None and end - start <= _WATCHED_BYTES:
            data = struct.pack("<i", end - start) + (yield from self._take(end - self._at))
            if data[-1]:
                raise _invalid("a document in a sequence has an impossible length or no end")
            watch.documents(data)
            return
        if watch is not None:
            watch.unread()
        yield from self._skip(end - 1 - self._at)
        if (yield from self._take(1))[0]:
            raise _invalid("a document in a sequence has an impossible length or no end")

    def _elements(self, stop: int, watch: Watch) -> _Steps:
        """The rest of an array of documents, up to `stop`. Whether it is sound is the server's business."""
        try:
            while self._at < stop - 1:
                head = yield from self._until_known(_element_head, stop - 1)
                value = head[head.index(0, 1) + 1 :]
                size = walk.value_length(value, head[0], 0, len(value))
                if head[0] != walk.DOCUMENT or not walk.MIN_DOCUMENT <= size <= _WATCHED_BYTES:
                    watch.unread()
                    break
                if size > stop - 1 - (self._at - len(value)):
                    raise _invalid("a value is cut")
                watch.documents(value + (yield from self._take(size - len(value))))
        except RemoteProtocolError:
            watch.unread()
        yield from self._skip(stop - self._at)

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def _at(self) -> int:
        """How much of the message is read."""
        return self._base + self._pos

    def _document_end(self, stop: int) -> Generator[None, None, int]:
        """Read a document's length; where it ends."""
        start = self._at
        if stop - start < walk.MIN_DOCUMENT:
            raise _invalid("a document is cut")
        length = _INT32((yield from self._take(4)))[0]
        if length < walk.MIN_DOCUMENT or start + length > stop:
            raise _invalid("a document's length is impossible")
        end: int = start + length
        return end

    def _take(self, count: int) -> Generator[None, None, bytes]:
        """The next `count` bytes."""
        pieces: list[bytes] = []
        while True:
            piece = self._data[self._pos : self._pos + count]
            self._pos += len(piece)
            count -= len(piece)
            pieces.append(piece)
            if not count:
                return piece if len(pieces) == 1 else b"".join(pieces)
            yield

    def _skip(self, count: int) -> _Steps:
        """Step over `count` bytes."""
        while True:
            step = min(count, len(self._data) - self._pos)
            self._pos += step
            count -= step
            if not count:
                return
            yield

    def _until_known(self, measure: Callable[[bytes], int], stop: int) -> Generator[None, None, bytes]:
        """The shortest run of bytes that `measure` can tell the length of; it says 0 for one that is too short."""
        run = b""
        while True:
            ahead = self._data[self._pos : min(self._pos + _NAME_BYTES + 32, stop - self._base)]
            size = measure(run + ahead)
            if size:
                self._pos += size - len(run)
                return (run + ahead)[:size]
            if self._at + len(ahead) >= stop or len(run) + len(ahead) > _NAME_BYTES:
                raise _invalid("an element is cut or too long")
            run += ahead
            self._pos += len(ahead)
            yield

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > self._limit:
            message = f"The command is too large: it has more than {self._limit} bytes beside its documents."
            raise _refused("large_command", message, MongoCode.BSON_OBJECT_TOO_LARGE)


def _terminated(run: bytes) -> int:
    """The length of a name with its zero."""
    return run.find(0) + 1


def _element_head(run: bytes) -> int:
    """The length of an element's type, its name, and as much of its value as tells how long that is."""
    value = run.find(0, 1) + 1
    if not value:
        return 0
    if walk.value_length(run, run[0], value, value) >= 0:
        return value  # its type tells it
    size = walk.value_length(run, run[0], value, len(run))
    if size < 0:
        return 0
    return value + (size if run[0] == walk.REGEX else 4)


def _invalid(what: str) -> RemoteProtocolError:
    return _refused("invalid_bson", f"The message is malformed: {what}.", MongoCode.INVALID_BSON)


def _refused(code: str, message: str, mongo_code: MongoCode) -> RemoteProtocolError:
    return RemoteProtocolError(code, message, mongo_code)
