"""What an access session has under way in MongoDB, as seen in its own traffic: logical sessions and cursors.

One per session, shared by its connections. Policy asks whether a kill reaches own work only; the session's end asks
what to kill. All sets are bounded: the oldest entry goes, which can only make a kill be refused or be missed (an idle
logical session ends by itself after 30 minutes, an idle cursor after ten).
"""

from __future__ import annotations

from typing import Final, TypeVar

from ..policy.decide import SessionWork
from ..rawbson import walk

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
