"""The log of a session, page by page, with bodies. Who may see it was asked before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.audit import LogFilter
from ...api.models import Record
from ...api.problems import ProblemCode, ProblemError
from ..db import Database
from . import reading, store
from .keyring import Keyring
from .model import RecordEpochRow, RecordRow
from .stored import Batches

Cursor = tuple[int, int]
COMMANDS: Final = frozenset({"command", "denied"})
_CHUNKS: Final = 64  # a body that was cut lies in at most so many frames behind its record


class LogPages:
    """Pages of logs."""

    def __init__(self, database: Database, keyring: Keyring, objects: Batches) -> None:
        self._database = database
        self._keyring = keyring
        self._objects = objects

    async def page(
        self, session_id: str, after: Cursor | None, limit: int, asked: LogFilter | None = None
    ) -> tuple[list[Record], bool]:
        """At most `limit` lines behind `after`, fewer where bodies are large; whether there are more."""
        async with self._database.read() as session:
            rows = await store.page(session, session_id, after, limit + 1, asked)
            more = len(rows) > limit
            bodies = await self.bodies(session, session_id, rows[:limit])
            further = await _further(session, session_id, rows[:limit])
        items = await asyncio.to_thread(_describe, rows[:limit], bodies, further)
        return items, more or len(items) < len(rows[:limit])

    async def bodies(
        self, session: AsyncSession, session_id: str, rows: Sequence[RecordRow]
    ) -> dict[int, reading.Bodies]:
        """What reads the bodies of these rows, by epoch."""
        found = {}
        for epoch in await store.epochs(session, session_id):
            ours = [row for row in rows if row.epoch == epoch.epoch and row.kind in COMMANDS]
            if ours:
                first, last = min(map(reading.first_frame, ours)), max(row.seq for row in ours)
                batches = await store.batches(session, session_id, epoch.epoch, first, last + _CHUNKS)
                found[epoch.epoch] = reading.Bodies(batches, self._key(epoch), self._objects.get)
        return found

    def _key(self, row: RecordEpochRow) -> bytes:
        return self._keyring.epoch_key(row.session_id, row.epoch, row.audit_key_id, row.sealed_key)


def cursor_of(item: Record) -> str:
    """The cursor behind a line."""
    return f"{item.epoch}.{item.seq}"


def read_cursor(text: str | None) -> Cursor | None:
    """What `cursor_of` wrote; ProblemError `invalid_request`."""
    if text is None:
        return None
    epoch, _, seq = text.partition(".")
    # Eighteen digits fit into the database's integers.
    if not (text.isascii() and epoch.isdecimal() and seq.isdecimal() and max(len(epoch), len(seq)) <= 18):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "`after` is not a cursor that this list gave out.")
    return int(epoch), int(seq)


async def _further(session: AsyncSession, session_id: str, rows: Sequence[RecordRow]) -> dict[Cursor, int]:
    """The documents that were read later through the cursors which these commands opened."""
    found: dict[Cursor, int] = {}
    for epoch in sorted({row.epoch for row in rows}):
        seqs = [row.seq for row in rows if row.epoch == epoch and row.kind == "command"]
        for seq, (documents, _) in (await store.read_further(session, session_id, epoch, seqs)).items():
            found[epoch, seq] = documents
    return found


def _describe(rows: Sequence[RecordRow], bodies: dict[int, reading.Bodies], further: dict[Cursor, int]) -> list[Record]:
    items, size = [], 0
    for row in rows:
        body = None
        if row.kind in COMMANDS:
            body, length = bodies[row.epoch].body(row.seq)
            size += length
        items.append(reading.describe(row, body, further.get((row.epoch, row.seq))))
        if size >= reading.PAGE_BODY_BYTES:
            break
    return items
