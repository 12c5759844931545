"""Records as people see them: the log of a session, and whether it is whole."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from ... import ids
from ...api.machine import RecordsAck
from ...api.models import Page, Record, Verification, VerificationState
from ...api.problems import ProblemCode, ProblemError
from ...audit.chain import Link
from ..access.places import RecordPlace, SessionDirectory
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, not_found
from ..identity.permissions import Permission
from ..paging import Paging
from ..sources import Sources
from ..vault import AuditKeys
from . import reading, store, verifying
from .intake import Intake
from .judge import Judge, state_of, unfinished
from .keyring import Keyring
from .model import RecordEpochRow, RecordRow
from .objects import ObjectFolder

_COMMANDS: Final = frozenset({"command", "denied"})


class RecordService:
    """The records of all sessions."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        keys: AuditKeys,
        directory: SessionDirectory,
        objects: ObjectFolder,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._keys = keys
        self._keyring = Keyring(keys)
        self._directory = directory
        self._objects = objects
        self._judge = Judge(database, sources, keys, directory)
        self._intake = Intake(database, audit_log, sources, self._keyring, directory, objects, self._judge)

    async def ingest(self, gateway_id: str, body: bytes) -> RecordsAck:
        """Take a batch of frames from a gateway; ProblemError `invalid_request` or `records_refused`."""
        return await self._intake.ingest(gateway_id, body)

    async def sweep(self) -> None:
        """Judge sessions that have ended, and seal from time to time what goes on."""
        await self._judge.sweep()

    async def read(self, actor: Actor, session_id: str, paging: Paging) -> Page[Record]:
        """A page of a session's log; ProblemError `not_found`, `forbidden`, `invalid_request` (a bad cursor)."""
        after = _cursor(paging.after)
        async with self._database.read() as session:
            place = await self._place(session, session_id)
            actor.require(Permission.ACCOUNT_RECORD_READ, place.scope, what=f"session {session_id}")
            rows = await store.page(session, session_id, after, paging.limit + 1)
            more = len(rows) > paging.limit
            rows = rows[: paging.limit]
            bodies = {
                epoch.epoch: reading.Bodies(
                    await store.batches(session, session_id, epoch.epoch, min(seqs)),
                    self._epoch_key(epoch),
                    self._objects.get,
                )
                for epoch in await store.epochs(session, session_id)
                if (seqs := [row.seq for row in rows if row.epoch == epoch.epoch and row.kind in _COMMANDS])
            }
        items = await asyncio.to_thread(_describe, rows, bodies)
        if after is None:
            async with self._database.write() as session:
                await self._audit_log.append(
                    session, actor.cause, Event.RECORDS_READ, session_id, project_id=place.scope.project_id
                )
        more = more or len(items) < len(rows)
        return Page[Record](items=items, next=f"{items[-1].epoch}.{items[-1].seq}" if more else None)

    def _epoch_key(self, row: RecordEpochRow) -> bytes:
        return self._keyring.epoch_key(row.session_id, row.epoch, row.audit_key_id, row.sealed_key)

    async def _place(self, session: AsyncSession, session_id: str) -> RecordPlace:
        place = await self._directory.record_place(session, session_id)
        if place is None:
            raise not_found(f"session {session_id[:64]}")
        return place

    # --- proving ---

    async def verify(self, actor: Actor, session_id: str) -> Verification:
        """Check a session from its first stored frame to its last; ProblemError `not_found`, `forbidden`."""
        async with self._database.read() as session:
            place = await self._place(session, session_id)
            own = place.user_id == actor.user_id
            needed = Permission.ACCOUNT_OWN_SESSION_READ if own else Permission.ACCOUNT_SESSION_READ
            actor.require(needed, place.scope, what=f"session {session_id}")
        if place.ended:
            async with self._database.write() as session:
                await self._judge.settle(session, session_id)
        async with self._database.read() as session:
            epochs = await store.epochs(session, session_id)
            objects = {row.epoch: await store.batches(session, session_id, row.epoch) for row in epochs}
            seals = await store.seals(session, session_id)
        checked = await asyncio.to_thread(
            verifying.check,
            ids.to_bytes(session_id, ids.Kind.SESSION),
            [
                verifying.StoredEpoch(
                    row.epoch, [batch.name for batch in objects[row.epoch]], Link(row.epoch, row.seq, row.hash)
                )
                for row in epochs
                if row.seq >= 0
            ],
            [
                verifying.StoredSeal(
                    seal.statement, self._keys.verify_head(seal.key_id, seal.signature, seal.statement)
                )
                for seal in seals
            ],
            self._objects.get,
            lambda number, head: self._keyring.epoch_key(session_id, number, head.audit_key_id, head.sealed_key),
        )
        state = state_of(place, epochs, self._sources.now())
        answer = Verification(session_id=session_id, state=state, records=checked.records, epochs=len(epochs))
        if checked.broken is not None:
            answer.state = VerificationState.TAMPERED
            answer.epoch, answer.seq, answer.detail = checked.broken.epoch, checked.broken.seq, str(checked.broken)
            async with self._database.write() as session:
                await self._directory.record_verification(session, session_id, VerificationState.TAMPERED)
        elif state is VerificationState.TAMPERED:
            bad = next(row for row in epochs if row.alarm is not None)
            answer.epoch, answer.seq, answer.detail = bad.epoch, bad.alarm_seq, bad.alarm_detail
        elif state is VerificationState.INCOMPLETE:
            answer.epoch, answer.seq = unfinished(place, epochs)
            answer.detail = f"The gateway has not delivered the end of epoch {answer.epoch}."
        if epochs and epochs[-1].hash:
            answer.head = epochs[-1].hash.hex()
        if seals and seals[-1].final and answer.state is VerificationState.VERIFIED:
            answer.signature = base64.b64encode(seals[-1].signature).decode()
        return answer


def _cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    epoch, _, seq = text.partition(".")
    # Eighteen digits fit into the database's integers.
    if not (text.isascii() and epoch.isdecimal() and seq.isdecimal() and max(len(epoch), len(seq)) <= 18):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "`after` is not a cursor that this list gave out.")
    return int(epoch), int(seq)


def _describe(rows: Sequence[RecordRow], bodies: dict[int, reading.Bodies]) -> list[Record]:
    items, size = [], 0
    for row in rows:
        body = None
        if row.kind in _COMMANDS:
            body, length = bodies[row.epoch].body(row.seq)
            size += length
        items.append(reading.describe(row, body))
        if size >= reading.PAGE_BODY_BYTES:
            break
    return items
