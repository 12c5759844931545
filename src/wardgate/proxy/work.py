"""What an access session has under way in MongoDB, as seen in its own traffic: logical sessions and cursors.

One per session, shared by its connections. Policy asks whether a command reaches own work only; the session's end asks
what to kill. All sets are bounded: what was not used for longest goes, which can only make a command be refused or a
kill be missed (an idle logical session ends by itself after 30 minutes, an idle cursor after ten).

Law: access sessions that share a MongoDB user are strangers to each other. MongoDB can't tell them apart, so whose a
logical session is, is decided here: the first that uses it has it until it ends. That holds within one gateway process;
another instance of the gateway may serve a stranger too. So what can be read or finished is one's own only where its
beginning was seen: a cursor by the reply that opened it, a transaction by the reply to its first statement. A server
that goes without that reply counts as one that gave it: no client can make it go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

from ..command.facts import Command
from ..policy.decide import SessionWork
from ..rawbson import walk
from ..wire.errors import RemoteProtocolError
from ..wire.message import parse_reply

T = TypeVar("T")
U = TypeVar("U")

_MOST: Final = 20_000
_UUID_SUBTYPES: Final = frozenset({3, 4})


class OpenCursor(NamedTuple):
    """A cursor that was open when a reply last told of it."""

    member: str
    database: str
    collection: str
    cursor_id: int


class Claims:
    """Whose a logical session is, for all access sessions of one gateway."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: dict[bytes, WorkLog] = {}

    def take(self, uuid: bytes, owner: WorkLog) -> bool:
        """Whether it is `owner`'s, from now on or already."""
        return self._owners.setdefault(uuid, owner) is owner

    def release(self, uuid: bytes, owner: WorkLog) -> None:
        """It is nobody's, if it was `owner`'s."""
        if self._owners.get(uuid) is owner:
            del self._owners[uuid]


class WorkLog:
    """Live sets; `view` is what policy reads. A cursor stays one's own after it is exhausted."""

    __slots__ = ("_claims", "_logical", "_open", "_opened", "_operations", "_raw", "_transactions", "view")

    def __init__(self, claims: Claims | None = None) -> None:
        self._claims = claims or Claims()
        self._raw: set[bytes] = set()  # lsid values as they stood in commands: the fast way to "seen before"
        self._logical: dict[bytes, None] = {}
        self._opened: dict[int, int] = {}  # cursor: sequence number of the intent that opened it
        self._open: dict[int, OpenCursor] = {}
        self._operations: dict[int | str, None] = {}
        self._transactions: dict[bytes, tuple[int, bool]] = {}  # of a logical session: its newest one, and if it began
        self.view = SessionWork(self._logical.keys(), self._opened.keys(), self._operations.keys())

    @property
    def logical_sessions(self) -> tuple[bytes, ...]:
        """UUIDs (16 bytes), oldest first."""
        return tuple(self._logical)

    @property
    def cursors(self) -> tuple[OpenCursor, ...]:
        """Those that are open as far as their replies told."""
        return tuple(self._open.values())

    def saw_lsid(self, raw: bytes) -> bool:
        """A command bears this `lsid` value (raw BSON): False where it is another access session's."""
        if raw in self._raw:
            return True
        uuid = _uuid(raw)
        if uuid is not None:
            if not self._claims.take(uuid, self):
                return False
            self._logical.pop(uuid, None)
            self._logical[uuid] = None
            if len(self._logical) > _MOST:
                oldest = next(iter(self._logical))
                del self._logical[oldest]
                self._claims.release(oldest, self)
                self._raw.clear()  # it may be in there
        if len(self._raw) >= _MOST:
            self._raw.clear()
        self._raw.add(raw)
        return True

    def release(self) -> None:
        """The access session is over: its logical sessions are nobody's."""
        for uuid in self._logical:
            self._claims.release(uuid, self)
        self._logical.clear()
        self._raw.clear()

    def saw_statement(self, command: Command) -> bool:
        """A command of a transaction: whether it begins one, or belongs to one whose beginning was seen."""
        place = _transaction(command)
        if place is None:
            return False
        uuid, number = place
        if command.starts_transaction:
            if self._transactions.get(uuid) != (number, True):
                _keep(self._transactions, uuid, (number, False))
            return True
        return self._transactions.get(uuid) == (number, True)

    def tried(self, command: Command) -> bool:
        """Whether the transaction of that command was to begin here, and did not."""
        place = _transaction(command)
        return place is not None and self._transactions.get(place[0]) == (place[1], False)

    def began(self, command: Command) -> None:
        """MongoDB has, or may have, taken the first statement of a transaction: it is this access session's."""
        place = _transaction(command)
        if place is not None:
            _keep(self._transactions, place[0], (place[1], True))

    def saw_cursor(self, cursor_id: int, member: str, database: str, collection: str, opened_by: int = 0) -> None:
        """A reply names this cursor as open; `opened_by` is the intent of the command that it answers."""
        _keep(self._opened, cursor_id, opened_by)
        _keep(self._open, cursor_id, OpenCursor(member, database, collection, cursor_id))

    def origin(self, cursor_ids: tuple[int, ...]) -> int | None:
        """The intent that opened the first of these cursors."""
        return self._opened.get(cursor_ids[0]) or None if cursor_ids else None

    def lost_cursors(self, cursor_ids: tuple[int, ...]) -> None:
        """A reply said that these are exhausted or killed."""
        for cursor_id in cursor_ids:
            self._open.pop(cursor_id, None)

    def saw_operation(self, operation: int | str) -> None:
        """MongoDB listed this operation as one of the session's own."""
        _keep(self._operations, operation, None)


def own_operations(raw: bytes, prefix: str) -> list[int | str]:
    """Ids of the operations in a currentOp reply message that run under an application name with `prefix`.

    The name was put there by a gateway and can't be taken back (a server takes it once per connection), so whoever has
    it is this access session. Nothing is raised: what can't be read is nobody's.
    """
    wanted = prefix.encode()
    found: list[int | str] = []
    if not raw:
        return found
    try:
        reply = parse_reply(raw)
        for first, last in _operations(raw, reply.body_start, reply.body_end):
            fields = {name: (kind, a, b) for kind, name, a, b in walk.elements(raw, first, last)}
            name, identity = fields.get(b"appName"), fields.get(b"opid")
            if name is None or name[0] != walk.STRING or identity is None or not raw.startswith(wanted, name[1] + 4):
                continue
            kind, a, b = identity
            number = walk.integer(raw, kind, a)
            found.append(walk.text(raw, a, b) if number is None and kind == walk.STRING else number or 0)
    except (walk.BsonError, RemoteProtocolError):
        pass
    return found


def _operations(raw: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the operations stand: `inprog` of the command, the batch of the stage."""
    array = walk.find(raw, b"inprog", start, end)
    if array is None:
        cursor = walk.find(raw, b"cursor", start, end)
        if cursor is None:
            return
        array = walk.find(raw, b"firstBatch", cursor[1], cursor[2])
    if array is not None and array[0] == walk.ARRAY:
        for kind, _, first, last in walk.elements(raw, array[1], array[2]):
            if kind == walk.DOCUMENT:
                yield first, last


def _keep(kept: dict[T, U], key: T, value: U) -> None:
    """As the newest one."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > _MOST:
        del kept[next(iter(kept))]


def _transaction(command: Command) -> tuple[bytes, int] | None:
    """Its logical session and its number; None where MongoDB would take it for none."""
    uuid = None if command.lsid is None else _uuid(command.lsid)
    return None if uuid is None or command.txn_number is None else (uuid, command.txn_number)


def _uuid(raw: bytes) -> bytes | None:
    try:
        found = walk.find(raw, b"id")
    except walk.BsonError:
        return None
    if found is None:
        return None
    kind, start, end = found
    if kind != walk.BINARY or end - start != 21 or raw[start + 4] not in _UUID_SUBTYPES:
        return None
    return raw[start + 5 : end]
