"""What an access session has under way in MongoDB, as seen in its own traffic: logical sessions and cursors.

One per session, shared by its connections. Policy asks whether a kill reaches own work only; the session's end asks
what to kill. All sets are bounded: the oldest entry goes, which can only make a kill be refused or be missed (an idle
logical session ends by itself after 30 minutes, an idle cursor after ten).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from ..policy.decide import SessionWork
from ..rawbson import walk
from ..wire.errors import RemoteProtocolError
from ..wire.message import parse_reply

T = TypeVar("T")

_MOST: Final = 20_000
_UUID_SUBTYPES: Final = frozenset({3, 4})


class WorkLog:
    """Live sets; `view` is what policy reads. A cursor stays one's own after it is exhausted."""

    __slots__ = ("_logical", "_open", "_opened", "_operations", "_raw", "view")

    def __init__(self) -> None:
        self._raw: set[bytes] = set()  # lsid values as they stood in commands: the fast way to "seen before"
        self._logical: dict[bytes, None] = {}
        self._opened: dict[int, None] = {}
        self._open: dict[int, None] = {}
        self._operations: dict[int | str, None] = {}
        self.view = SessionWork(self._logical.keys(), self._opened.keys(), self._operations.keys())

    @property
    def logical_sessions(self) -> tuple[bytes, ...]:
        """UUIDs (16 bytes), oldest first."""
        return tuple(self._logical)

    @property
    def cursors(self) -> tuple[int, ...]:
        """Ids of cursors that are open as far as their replies told."""
        return tuple(self._open)

    def saw_lsid(self, raw: bytes) -> None:
        """A command bears this `lsid` value (raw BSON)."""
        if raw in self._raw:
            return
        if len(self._raw) >= _MOST:
            self._raw.clear()
        self._raw.add(raw)
        uuid = _uuid(raw)
        if uuid is not None:
            _keep(self._logical, uuid)

    def saw_cursor(self, cursor_id: int) -> None:
        """A reply names this cursor as open."""
        _keep(self._opened, cursor_id)
        _keep(self._open, cursor_id)

    def lost_cursors(self, cursor_ids: tuple[int, ...]) -> None:
        """A reply said that these are exhausted or killed."""
        for cursor_id in cursor_ids:
            self._open.pop(cursor_id, None)

    def saw_operation(self, operation: int | str) -> None:
        """MongoDB listed this operation as one of the session's own."""
        _keep(self._operations, operation)


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
            if name is None or identity is None or not raw.startswith(wanted, name[1] + 4):
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


def _keep(kept: dict[T, None], key: T) -> None:
    kept[key] = None
    if len(kept) > _MOST:
        del kept[next(iter(kept))]


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
