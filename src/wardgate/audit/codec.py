"""Records to BSON and back.

A record becomes one small document: `kind`, `at` (microseconds of Unix time, UTC), then the fields that are not at
their defaults, under the names they bear in `records`. The raw body is embedded as it came, never decoded, so what is
recorded is what was sent, whatever types are in it. A body beyond `INLINE_BYTES` follows its record in `chunk`
documents; its record then has `cut`: the sizes of the pieces, the kind-0 document first.

Text facts come from hostile peers: they are capped and made valid UTF-8 here. Bodies never are.

Law: `decode(encode(record)[0])` is the record; with its chunks joined by `Assembler`, for every body up to the wire's
limit. New fields and kinds may be added; an unknown kind is an error, since a reader must not pretend to know it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import bson
from bson.errors import InvalidBSON

from ..errors import WardgateError
from ..rawbson import walk
from . import records
from .parts import PartsBroken, open_documents, open_parts
from .records import BodyChunk, CommandIntent, CommandOutcome, Denied, Record, Streamed, UploadPart

INLINE_BYTES: Final = 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
TEXT_BYTES: Final = 1024
ERROR_BYTES: Final = 8192
_NAMES: Final = 400  # characters of all names of a command together; MongoDB's own limits are below

_WITH_BODY: Final = (CommandIntent, Denied)
_I32 = struct.Struct("<i")
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")

_KINDS: Final[dict[str, type[Any]]] = {
    "session_opened": records.SessionOpened,
    "session_closed": records.SessionClosed,
    "session_notice": records.SessionNotice,
    "connection_opened": records.ConnectionOpened,
    "connection_hello": records.ConnectionHello,
    "connection_closed": records.ConnectionClosed,
    "upload": records.Upload,
    "part": records.UploadPart,
    "intent": records.CommandIntent,
    "outcome": records.CommandOutcome,
    "denied": records.Denied,
    "malformed": records.Malformed,
    "chunk": records.BodyChunk,
}


class CodecError(WardgateError):
    """A document that is no record, or a record that can't be written down."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_record", message)


class Entry(NamedTuple):
    """A record as it was read: when, what, and the sizes of the pieces that follow in chunks (empty: none do)."""

    at_us: int
    record: Record
    cut: tuple[int, ...]


# --- writing ------------------------------------------------------------------------------------------------------


def encode(record: Record, at_us: int, seq: int) -> list[bytes]:
    """The documents of `record`, which will have the sequence numbers `seq`, `seq` + 1, …"""
    if is_cut(record):
        return list(encode_each(record, at_us, seq))
    quick = _QUICK.get(type(record))
    return [(quick and quick(record, at_us)) or _document(record, at_us)]


def is_cut(record: Record) -> bool:
    """Whether `encode` gives more than one document."""
    if isinstance(record, _WITH_BODY):
        return len(record.body) + sum(len(documents) for _, documents in record.sequences) > INLINE_BYTES
    return False


def encode_each(record: Record, at_us: int, seq: int) -> Iterator[bytes]:
    """What `encode` gives of a record that is cut, one after the other: all of them are as much as the body again."""
    assert isinstance(record, _WITH_BODY)
    pieces = [record.body, *(documents for _, documents in record.sequences)]
    emptied = dataclasses.replace(record, body=b"", sequences=tuple((name, b"") for name, _ in record.sequences))
    yield _document(emptied, at_us, _array("cut", [b"\x12", *(_I64.pack(len(piece)) for piece in pieces)]))
    held, index = b"", 0
    for piece in pieces:
        start = 0
        while len(held) + len(piece) - start >= CHUNK_BYTES:
            end = start + CHUNK_BYTES - len(held)
            yield _document(BodyChunk(seq, index, held + piece[start:end]), at_us)
            held, start, index = b"", end, index + 1
        held += piece[start:]
    if held:
        yield _document(BodyChunk(seq, index, held), at_us)


def _document(record: Record, at_us: int, extra: bytes = b"") -> bytes:
    prefix, fields = _SHAPES[type(record)]
    parts = [prefix, _I64.pack(at_us)]
    for get, default, write in fields:
        value = get(record)
        if value is not None and value != default:
            write(parts, value)
    parts.append(extra)
    inner = b"".join(parts)
    return b"".join((_I32.pack(len(inner) + 5), inner, b"\0"))


def _text(value: str, cap: int) -> bytes:
    raw = value.encode("utf-8", "backslashreplace")
    if len(raw) > cap:
        raw = raw[:cap].decode("utf-8", "ignore").encode() + "…".encode()
    return _I32.pack(len(raw) + 1) + raw + b"\0"


def _array(name: str, typed: list[bytes]) -> bytes:
    """An array element of values that all have the BSON type `typed[0]`."""
    kind, *values = typed
    inner = b"".join(kind + b"%d\0" % index + value for index, value in enumerate(values))
    return b"\x04" + name.encode() + b"\0" + _I32.pack(len(inner) + 5) + inner + b"\0"


_Writer = Callable[[list[bytes], Any], None]


def _writer(name: str, annotation: str) -> _Writer:
    """How the field `name` is appended to a document's parts, by its annotation in `records`."""
    key = name.encode() + b"\0"
    match annotation.removesuffix(" | None"):
        case "str":
            cap = ERROR_BYTES if name in {"error", "message"} else TEXT_BYTES
            return lambda parts, value: parts.extend((b"\x02" + key, _text(value, cap)))
        case "int":
            return lambda parts, value: parts.extend((b"\x12" + key, _I64.pack(value)))
        case "float":
            return lambda parts, value: parts.extend((b"\x01" + key, _F64.pack(value)))
        case "bool":
            return lambda parts, value: parts.append(b"\x08" + key + (b"\1" if value else b"\0"))
        case "bytes" if name == "body":
            return lambda parts, value: parts.extend((b"\x03" + key, value)) if value else None
        case "bytes":
            return lambda parts, value: parts.extend((b"\x05" + key, _I32.pack(len(value)) + b"\0", value))
        case "tuple[str, ...]":
            return lambda parts, value: parts.append(_array(name, [b"\x02", *(_text(v, TEXT_BYTES) for v in value)]))
        case "Sequences":
            return _write_sequences
        case "Streamed":
            return _write_streamed
        case other:
            raise TypeError(f"no BSON form for {other}")


def _write_sequences(parts: list[bytes], sequences: records.Sequences) -> None:
    """An array of identifier, binary, identifier, binary, …: identifiers may repeat on the wire, keys may not here."""
    at = len(parts)
    parts.append(b"")
    size = 5
    for index, (identifier, documents) in enumerate(sequences):
        head = (
            b"\x02%d\0" % (2 * index)
            + _text(identifier, TEXT_BYTES)
            + b"\x05%d\0" % (2 * index + 1)
            + _I32.pack(len(documents))
            + b"\0"
        )
        parts += (head, documents)
        size += len(head) + len(documents)
    parts.append(b"\0")
    parts[at] = b"\x04sequences\0" + _I32.pack(size)


def _write_streamed(parts: list[bytes], streamed: Streamed) -> None:
    """An embedded document; an empty digest, an empty key and a `masked` that is false are left out."""
    inner = b"\x12opened\0" + _I64.pack(streamed.opened) + b"\x12parts\0" + _I64.pack(streamed.parts)
    for name, value in ((b"sha256", streamed.sha256), (b"key", streamed.key)):
        if value:
            inner += b"\x05" + name + b"\0" + _I32.pack(len(value)) + b"\0" + value
    if streamed.masked:
        inner += b"\x08masked\0\1"
    parts.append(b"\x03streamed\0" + _I32.pack(len(inner) + 5) + inner + b"\0")


_Field = tuple[Callable[[Any], Any], Any, _Writer]


def _shape(kind: str, cls: type[Any]) -> tuple[bytes, tuple[_Field, ...]]:
    prefix = b"\x02kind\0" + _text(kind, TEXT_BYTES) + b"\x12at\0"
    fields = tuple(
        (operator.attrgetter(field.name), field.default, _writer(field.name, str(field.type)))  # MISSING equals nothing
        for field in dataclasses.fields(cls)
    )
    return prefix, fields


_SHAPES: Final = {cls: _shape(kind, cls) for kind, cls in _KINDS.items()}


# --- writing what every command writes ------------------------------------------------------------------------------
#
# An intent and an outcome without anything unusual, in one piece: a third of the time of the way over all fields. The
# bytes are the same, and the tests compare them.


def _heads(kind: str, *names: str) -> tuple[struct.Struct, list[bytes]]:
    """A document's length, its kind and time, and numbers with these names: how they are packed, and all their keys."""
    keys = [b"\x02kind\0" + _text(kind, TEXT_BYTES) + b"\x12at\0", *(name.encode() + b"\0" for name in names)]
    return struct.Struct("<i" + "".join(f"{len(key)}sq" for key in keys)), keys


_INTENT, (_INTENT_AT, _CONNECTION, _REQUEST_ID) = _heads("intent", "\x12connection", "\x12request_id")
_OUTCOME, (_OUTCOME_AT, _INTENT_SEQ) = _heads("outcome", "\x12intent_seq")
_OK = b"\x01ok\0"
_REST_NAMES = (b"\x12documents\0", b"\x12bytes_out\0", b"\x12duration_us\0")
_REST = struct.Struct(f"<{len(_OK)}sd" + "".join(f"{len(name)}sq" for name in _REST_NAMES) + "x")
_BYTES_IN = struct.Struct("<10sq")


@functools.lru_cache(1024)
def _names(database: str, collection: str | None, command: str, effect: str, client_app: str | None) -> list[bytes]:
    """Before the body and behind it. The same few come again and again."""
    found = (("database", database), ("collection", collection), ("command", command), ("effect", effect))
    before = b"".join(
        b"\x02" + name.encode() + b"\0" + _text(value, TEXT_BYTES) for name, value in found if value is not None
    )
    return [before, b"\0" if client_app is None else b"\x02client_app\0" + _text(client_app, TEXT_BYTES) + b"\0"]


def _quick_intent(record: CommandIntent, at_us: int) -> bytes | None:
    if record.sequences or record.masked or not record.body or record.rule is not None:
        return None
    if record.streamed is not None or record.continues is not None:
        return None
    database, collection, command, client_app = record.database, record.collection, record.command, record.client_app
    if len(database) + len(collection or "") + len(command) + len(client_app or "") > _NAMES:
        return None  # what a hostile peer may make long is not remembered
    before, behind = _names(database, collection, command, record.effect, client_app)
    size = _INTENT.size + len(before) + 6 + len(record.body) + _BYTES_IN.size + len(behind)
    head = _INTENT.pack(size, _INTENT_AT, at_us, _CONNECTION, record.connection, _REQUEST_ID, record.request_id)
    bytes_in = _BYTES_IN.pack(b"\x12bytes_in\0", record.bytes_in)
    return b"".join((head, before, b"\x03body\0", record.body, bytes_in, behind))


def _quick_outcome(record: CommandOutcome, at_us: int) -> bytes | None:
    ok, documents, bytes_out, took = record.ok, record.documents, record.bytes_out, record.duration_us
    if ok is None or documents is None or not bytes_out or not took or record.code is not None or record.more:
        return None
    if record.error is not None or record.modified is not None or record.upserted is not None:
        return None
    if record.write_errors or record.unacknowledged:
        return None
    first, second, third = _REST_NAMES
    head = _OUTCOME.pack(_OUTCOME.size + _REST.size, _OUTCOME_AT, at_us, _INTENT_SEQ, record.intent_seq)
    return head + _REST.pack(_OK, ok, first, documents, second, bytes_out, third, took)


_QUICK: Final[dict[type[Any], Callable[[Any, int], bytes | None]]] = {
    CommandIntent: _quick_intent,
    CommandOutcome: _quick_outcome,
}


# --- reading ------------------------------------------------------------------------------------------------------


def decode(document: bytes) -> Entry:
    """The record in `document`; CodecError if it is none that this version knows."""
    try:
        if walk.document_end(document, 0, len(document)) != len(document):
            raise walk.BsonError("bytes follow the document")
        found = walk.fields(document, 0, len(document))
        kind = _read_text(document, *found[b"kind"])
        cls = _KINDS[kind]
        values: dict[str, Any] = dict(_NULLS[cls])
        for key, name, read in _READERS[cls]:
            place = found.get(key)
            if place is not None:
                values[name] = read(document, *place)
        cut: tuple[int, ...] = ()
        if b"cut" in found:
            cut = tuple(int(size) for size in _read_array(document, *found[b"cut"]))
        if cls in _WITH_BODY:
            values.setdefault("body", b"")
        return Entry(_read_int(document, *found[b"at"]), cls(**values), cut)
    except KeyError as error:
        raise CodecError(f"A record lacks a field or has an unknown kind: {error}.") from error
    except (InvalidBSON, TypeError, ValueError, IndexError) as error:
        raise CodecError(f"A document is no record: {error}.") from error


_Reader = Callable[[bytes, int, int, int], Any]


def _expect(kind: int, *wanted: int) -> None:
    if kind not in wanted:
        raise ValueError(f"a field has the BSON type {kind}")


def _read_text(data: bytes, kind: int, start: int, end: int) -> str:
    _expect(kind, walk.STRING)
    return data[start + 4 : end - 1].decode()


def _read_int(data: bytes, kind: int, start: int, end: int) -> int:
    _expect(kind, walk.INT64)
    value: int = _I64.unpack_from(data, start)[0]
    return value


def _read_float(data: bytes, kind: int, start: int, end: int) -> float:
    _expect(kind, walk.DOUBLE)
    value: float = _F64.unpack_from(data, start)[0]
    return value


def _read_bool(data: bytes, kind: int, start: int, end: int) -> bool:
    _expect(kind, walk.BOOLEAN)
    return data[start] != 0


def _read_bytes(data: bytes, kind: int, start: int, end: int) -> bytes:
    _expect(kind, walk.DOCUMENT, walk.BINARY)
    return data[start:end] if kind == walk.DOCUMENT else data[start + 5 : end]


def _read_array(data: bytes, kind: int, start: int, end: int) -> list[Any]:
    _expect(kind, walk.ARRAY)
    return list(bson.decode(data[start:end]).values())


def _read_texts(data: bytes, kind: int, start: int, end: int) -> tuple[str, ...]:
    return tuple(str(value) for value in _read_array(data, kind, start, end))


def _read_sequences(data: bytes, kind: int, start: int, end: int) -> records.Sequences:
    values = _read_array(data, kind, start, end)
    return tuple((str(values[i]), bytes(values[i + 1])) for i in range(0, len(values), 2))


def _read_streamed(data: bytes, kind: int, start: int, end: int) -> Streamed:
    _expect(kind, walk.DOCUMENT)
    found = walk.fields(data, start, end)
    opened, parts = (_read_int(data, *found[name]) for name in (b"opened", b"parts"))
    digest, key = (_read_bytes(data, *found[name]) if name in found else b"" for name in (b"sha256", b"key"))
    masked = b"masked" in found and _read_bool(data, *found[b"masked"])
    return Streamed(opened, parts, digest, key, masked)


_BY_TYPE: Final[dict[str, _Reader]] = {
    "str": _read_text,
    "int": _read_int,
    "float": _read_float,
    "bool": _read_bool,
    "bytes": _read_bytes,
    "tuple[str, ...]": _read_texts,
    "Sequences": _read_sequences,
    "Streamed": _read_streamed,
}
_READERS: Final = {
    cls: tuple(
        (field.name.encode(), field.name, _BY_TYPE[str(field.type).removesuffix(" | None")])
        for field in dataclasses.fields(cls)
    )
    for cls in _KINDS.values()
}
_NULLS: Final = {
    cls: {field.name: None for field in dataclasses.fields(cls) if str(field.type).endswith(" | None")}
    for cls in _KINDS.values()
}


class Assembler:
    """Gathers what belongs to one record with a body and came apart from it, between the records of others.

    The chunks of a body that was cut follow its record; the parts of a streamed one stand before it, from `opened` on.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._pieces: list[bytes] = []
        self._missing = sum(entry.cut)
        record = entry.record
        self._streamed = record.streamed if isinstance(record, _WITH_BODY) else None
        if self._streamed is not None and not self._streamed.key:
            self._streamed = None  # withheld: there is nothing to gather

    @property
    def opened(self) -> int | None:
        """The sequence number behind which the parts stand; None where none are wanted."""
        return None if self._streamed is None else self._streamed.opened

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        if self._streamed is not None:
            return len(self._pieces) == self._streamed.parts
        return self._missing == 0

    def add(self, piece: BodyChunk | UploadPart) -> None:
        """The next piece of this record (others' are passed over); CodecError if it is not the next one or too long."""
        if isinstance(piece, UploadPart):
            if self._streamed is None or piece.opened != self._streamed.opened:
                return
            if self.whole or piece.index != len(self._pieces):
                raise CodecError("A part of a streamed body is out of place.")
        else:
            if piece.index != len(self._pieces) or len(piece.data) > self._missing:
                raise CodecError("A chunk of a body is out of place.")
            self._missing -= len(piece.data)
        self._pieces.append(piece.data)

    def record(self) -> Record:
        """The whole record; CodecError while something is missing, or if the pieces do not make it."""
        record, cut = self._entry.record, self._entry.cut
        if not cut and self._streamed is None:
            return record
        if not self.whole or not isinstance(record, _WITH_BODY):
            raise CodecError("A body is not whole.")
        if self._streamed is not None:
            try:
                if self._streamed.masked:
                    return dataclasses.replace(record, sequences=open_documents(self._streamed, self._pieces))
                body, sequences = open_parts(self._streamed, self._pieces)
            except PartsBroken as error:
                raise CodecError(error.message) from error
            return dataclasses.replace(record, body=body, sequences=sequences)
        if len(cut) != len(record.sequences) + 1:
            raise CodecError("A body is not whole.")
        whole = b"".join(self._pieces)
        bounds = [0]
        for size in cut:
            bounds.append(bounds[-1] + size)
        body, *rest = (whole[start:end] for start, end in itertools.pairwise(bounds))
        names = (name for name, _ in record.sequences)
        return dataclasses.replace(record, body=body, sequences=tuple(zip(names, rest, strict=True)))
