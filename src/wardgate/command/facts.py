"""What a request is: its name, namespaces and effect, and whose cursors and logical sessions it touches.

All of it is read from the raw bytes, because a dict forgets repeated keys. `parse` judges content, not names: an
aggregate with `$out` writes, a find with `$where` runs code, `explain` is what it explains.

Law: repeated top-level keys, a missing `$db`, a kind-1 section that this command has no use for, and a field that
stands both in the body and in a section are refused. What is not understood has effect admin; it never passes as less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..rawbson import walk
from ..rawbson.walk import BsonError, DuplicateKeyError
from ..wire.errors import MongoCode
from ..wire.message import OpQuery, Request
from . import content
from .catalogue import Area, Effect, Entry, Place, look_up
from .content import Fields, Findings, refused

__all__ = ["CARRIES", "HINT", "Area", "Command", "Effect", "carries_documents", "parse", "unread"]

_STRENGTH: Final = {Effect.READ: 0, Effect.AUTH: 0, Effect.WRITE: 1, Effect.CODE: 2, Effect.ADMIN: 3}
# The commands that mongod 6.0 still takes in an OP_QUERY; it answers all others with code 352.
_IN_OP_QUERY: Final = frozenset({
    "authenticate", "buildInfo", "buildinfo", "hello", "isMaster", "ismaster", "saslContinue", "saslStart",
})  # fmt: skip
# Kind-1 sections, by command. Any other pairing is nothing that a server takes.
_SEQUENCES: Final[dict[str, frozenset[str]]] = {
    "insert": frozenset({"documents"}),
    "update": frozenset({"updates"}),
    "delete": frozenset({"deletes"}),
    "bulkWrite": frozenset({"ops", "nsInfo"}),
}
# Arrays and sections that hold the application's data, as much as fits into a message. `nsInfo` is no such thing.
CARRIES: Final = frozenset({b"deletes", b"documents", b"ops", b"updates"})
HINT: Final = content.CODE_HINT
_CARRIERS: Final = frozenset(name.encode() for name in _SEQUENCES)
_NAME_BYTES: Final = 64  # of a database: mongod's limit is 63
_NAMES_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Command:
    """One request, understood.

    Namespaces are ``database.collection``, or the database alone; `namespaces` holds all that are touched, `written`
    those that may change. `lsid` is the raw BSON value of that field. `cursor_ids` are getMore's or killCursors' ones,
    `logical_sessions` the UUIDs (16 bytes) that killSessions or endSessions name (None stands for one that has no
    UUID), `op` is killOp's operation. `inner` is the explained command's name, `stages` the names of all pipeline
    stages, nested ones too. `traits` are words for what else policy must know: see `content`.
    """

    name: str
    database: str
    collection: str | None
    effect: Effect
    area: Area
    request: Request
    namespaces: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    inner: str | None = None
    stages: tuple[str, ...] = ()
    lsid: bytes | None = None
    txn_number: int | None = None
    cursor_ids: tuple[int, ...] = ()
    logical_sessions: tuple[bytes | None, ...] = ()
    op: int | str | None = None
    has_comment: bool = False
    known: bool = True  # whether some release of mongod or mongos has a command of this name
    traits: frozenset[str] = frozenset()
    in_transaction: bool = False
    starts_transaction: bool = False

    @property
    def request_id(self) -> int:
        """Of the request."""
        return self.request.request_id

    @property
    def more_to_come(self) -> bool:
        """No reply will come: an unacknowledged command."""
        return self.request.more_to_come

    @property
    def exhaust(self) -> bool:
        """A chain of replies may come."""
        return self.request.exhaust_allowed


def carries_documents(name: bytes) -> bool:
    """Whether the command `name` has data in `CARRIES`, and nothing else that could be large."""
    return name in _CARRIERS


def unread(request: Request) -> Command:
    """A command of which nothing is known yet, so that it counts as everything that it could be."""
    return Command("", "", None, Effect.ADMIN, Area.INTERNAL, request, known=False)


def parse(request: Request, *, hinted: bool = False) -> Command:
    """Raises RemoteProtocolError (answerable) for a request that breaks the law above.

    `hinted`: `HINT` was found in what an outline (`wire.sections`) has left out.
    """
    raw = request.raw
    try:
        fields = walk.fields(raw, request.body_start, request.body_end)
        return _parse(request, raw, fields, hinted)
    except DuplicateKeyError as error:
        name = error.name[:_NAMES_SHOWN]
        raise refused("duplicate_field", f"The command is refused: its field {name!r} stands twice.",
                      MongoCode.DUPLICATE_FIELD) from error  # fmt: skip
    except BsonError as error:
        raise refused("invalid_bson", f"The command is malformed: {error}.", MongoCode.INVALID_BSON) from error


def _parse(request: Request, raw: bytes, fields: Fields, hinted: bool) -> Command:
    if not fields:
        raise refused("empty_command", "The command document is empty.", MongoCode.FAILED_TO_PARSE)
    first = next(iter(fields))
    entry = look_up(first)
    known = entry is not None
    if entry is None:
        name = first.decode("utf-8", "backslashreplace")
        entry = Entry(name, Effect.ADMIN, Area.INTERNAL, Place.DATABASE)
    database = _database(request, raw, fields, entry.name)
    if request.sequences:
        _check_sequences(request, fields, entry.name)
    found = Findings(database)
    inner: str | None = None
    if first == b"explain":
        entry, inner, known = _explained(raw, fields, found)
    else:
        content.examine(entry, request, raw, fields, found, hinted)
    lsid = fields.get(b"lsid")
    number = fields.get(b"txnNumber")
    return Command(
        entry.name if inner is None else "explain",
        database,
        found.collection,
        _effect(entry, found, inner is not None),
        entry.area,
        request,
        tuple(dict.fromkeys(found.namespaces)) or (database,),
        tuple(dict.fromkeys(found.written)),
        inner,
        tuple(found.stages),
        None if lsid is None else raw[lsid[1] : lsid[2]],
        None if number is None else walk.integer(raw, number[0], number[1]),
        tuple(found.cursor_ids),
        tuple(found.logical_sessions),
        found.op,
        b"comment" in fields,
        known,
        frozenset(found.traits),
        b"autocommit" in fields,
        _is_true(raw, fields, b"startTransaction"),
    )


def _is_true(raw: bytes, fields: Fields, name: bytes) -> bool:
    found = fields.get(name)
    return found is not None and found[0] == walk.BOOLEAN and raw[found[1]] == 1


def _effect(entry: Entry, found: Findings, explained: bool) -> Effect:
    effect = entry.effect
    if found.effect is not None and _STRENGTH[found.effect] > _STRENGTH[effect]:
        effect = found.effect
    if explained and effect is Effect.WRITE:
        return Effect.READ  # a plan is made and perhaps tried, but nothing is changed
    return effect


def _database(request: Request, raw: bytes, fields: Fields, name: str) -> str:
    if isinstance(request, OpQuery):
        if name not in _IN_OP_QUERY:
            raise refused(
                "legacy_query",
                f"Unsupported OP_QUERY command: {name[:_NAMES_SHOWN]}. The client driver may require an upgrade.",
                MongoCode.UNSUPPORTED_OP_QUERY_COMMAND,
            )
        return request.database
    field = fields.get(b"$db")
    if field is None:
        raise refused("no_database", "OP_MSG requests require a $db argument.", MongoCode.NO_DATABASE)
    kind, start, stop = field
    if kind != walk.STRING:
        raise refused("bad_database", "The field $db must be a string.", MongoCode.TYPE_MISMATCH)
    database = walk.text(raw, start, stop)
    if not database or len(database) >= _NAME_BYTES or "." in database or "\0" in database:
        raise refused("bad_database", "The field $db is no name of a database.", MongoCode.INVALID_NAMESPACE)
    return database


def _check_sequences(request: Request, fields: Fields, name: str) -> None:
    allowed = _SEQUENCES.get(name, frozenset())
    for sequence in request.sequences:
        shown = sequence.identifier[:_NAMES_SHOWN]
        if sequence.identifier not in allowed:
            raise refused("unknown_sequence", f"BSON field '{name[:_NAMES_SHOWN]}.{shown}' is an unknown field.",
                          MongoCode.UNKNOWN_FIELD)  # fmt: skip
        if sequence.identifier.encode() in fields:
            raise refused("sequence_in_body", f"The field {shown!r} stands in the body and in a document sequence.",
                          MongoCode.SEQUENCE_IN_BODY)  # fmt: skip


def _explained(raw: bytes, fields: Fields, found: Findings) -> tuple[Entry, str, bool]:
    """The explained command's entry, name, and whether it is known. What it would touch goes into `found`."""
    kind, start, stop = fields[b"explain"]
    if kind != walk.DOCUMENT:
        raise refused("bad_explain", "The field explain must be a document.", MongoCode.TYPE_MISMATCH)
    inner = walk.fields(raw, start, stop)
    first = next(iter(inner), b"")
    if first == b"explain":
        raise refused("bad_explain", "Explain can't explain itself.", MongoCode.BAD_VALUE)
    database = inner.get(b"$db")
    if database is not None and (
        database[0] != walk.STRING or walk.text(raw, database[1], database[2]) != found.database
    ):
        raise refused("bad_database", "The explained command names another database.", MongoCode.INVALID_NAMESPACE)
    entry = look_up(first)
    known = entry is not None
    if entry is None:
        entry = Entry(first.decode("utf-8", "backslashreplace"), Effect.ADMIN, Area.INTERNAL, Place.DATABASE)
    content.examine(entry, None, raw, inner, found)
    return entry, entry.name, known
