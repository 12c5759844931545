"""Taking what gateways deliver.

Order of an ingest: check, keep the object, then the rows in one transaction, then acknowledge. A crash between any two
leaves a delivery that comes again. One batch of a session at a time.

Law: nothing is acknowledged that would not survive a power cut, and nothing is taken from a gateway that was not leased
the epoch. An alarm is final for its epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from weakref import WeakValueDictionary

from ...api.machine import RecordsAck
from ...api.models import VerificationState
from ...api.problems import ProblemCode, ProblemError
from ...audit.chain import ChainBroken, ChainReader, EpochHead, Link, parse_epoch_head
from ...audit.frame import Frame
from ...net import logs
from ..access.places import RecordPlace, SessionDirectory
from ..audit_log import AuditLog, Event
from ..audit_log.log import Cause
from ..db import Database
from ..sources import Sources
from . import ingest, store
from .ingest import Alarm, Batch, Opened
from .judge import Judge
from .keyring import Keyring
from .model import RecordBatchRow, RecordEpochRow
from .objects import ObjectFolder
from .rows import harvest

_log = logs.get("control.records")


class Intake:
    """The door for batches."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        keyring: Keyring,
        directory: SessionDirectory,
        objects: ObjectFolder,
        judge: Judge,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._keyring = keyring
        self._directory = directory
        self._objects = objects
        self._judge = judge
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ingest(self, gateway_id: str, body: bytes) -> RecordsAck:
        """Take a batch of frames; ProblemError `invalid_request` or `records_refused`."""
        batch = await asyncio.to_thread(ingest.read_batch, body)
        turn = self._turns.setdefault(batch.session_id, asyncio.Lock())
        async with turn:
            async with self._database.read() as session:
                place = await self._directory.record_place(session, batch.session_id)
                row = await store.epoch(session, batch.session_id, batch.epoch)
            if place is None or place.epochs.get(batch.epoch) != gateway_id:
                raise ProblemError(
                    ProblemCode.RECORDS_REFUSED,
                    f"This gateway was not leased epoch {batch.epoch} of session {batch.session_id}.",
                )
            if row is not None and row.alarm is not None:
                raise _alarmed(row.alarm_detail or row.alarm)
            try:
                row = await self._take(gateway_id, batch, row, place)
            except Alarm as alarm:
                await self._raise_alarm(gateway_id, batch, alarm, place)
                raise _alarmed(alarm.detail) from alarm
        return RecordsAck(
            session_id=batch.session_id,
            epoch=batch.epoch,
            seq=row.seq,
            hash=row.hash.hex(),
            fenced=any(epoch > batch.epoch for epoch in place.epochs),
            closed=row.closed,
        )

    async def _take(
        self, gateway_id: str, batch: Batch, row: RecordEpochRow | None, place: RecordPlace
    ) -> RecordEpochRow:
        known = row.seq if row is not None else -1
        old = [frame for frame in batch.frames if frame.head.seq <= known]
        new = [frame for frame in batch.frames if frame.head.seq > known]
        if row is not None and old:
            await self._compare(row, old)
        if not new:
            assert row is not None
            return row
        head = self._head(gateway_id, batch, new[0], row)
        key = self._keyring.epoch_key(batch.session_id, batch.epoch, head.audit_key_id, head.sealed_key)
        last = Link(row.epoch, row.seq, row.hash) if row is not None else None
        reader = ChainReader(batch.session, batch.epoch, key, last)
        opened = await asyncio.to_thread(ingest.open_frames, reader, new)
        name = f"{batch.session_id}/{batch.epoch:08d}-{new[0].head.seq:012d}"
        data = b"".join(frame.raw for frame in new)
        await asyncio.to_thread(self._objects.put, name, data)
        first, last_seq = new[0].head.seq, new[-1].head.seq
        stored = RecordBatchRow(
            session_id=batch.session_id,
            epoch=batch.epoch,
            first_seq=first,
            last_seq=last_seq,
            name=name,
            size=len(data),
            stored_at=self._sources.now(),
        )
        return await self._keep(gateway_id, batch, row, head, opened, stored, place)

    def _head(self, gateway_id: str, batch: Batch, first: Frame, row: RecordEpochRow | None) -> EpochHead:
        """The epoch's head, from this batch or as it was kept."""
        if row is not None:
            return EpochHead(row.sealed_key, row.audit_key_id, row.gateway_id, 0, None)
        if not ingest.is_head(first):
            raise ProblemError(
                ProblemCode.RECORDS_REFUSED,
                f"Epoch {batch.epoch} can't begin with frame {first.head.seq}.",
                context={"epoch": batch.epoch, "seq": 0},
            )
        try:
            head = parse_epoch_head(first)
        except ChainBroken as error:
            raise ProblemError(ProblemCode.RECORDS_REFUSED, "The epoch's head can't be read.") from error
        if head.gateway != gateway_id:
            raise ProblemError(ProblemCode.RECORDS_REFUSED, "The epoch's head names another gateway.")
        return head

    async def _compare(self, row: RecordEpochRow, frames: Sequence[Frame]) -> None:
        """Frames that are here already must be the same; objects are read only for those that the row can't answer."""
        stored = {0: row.head_hash, row.seq: row.hash}
        beyond = [frame.head.seq for frame in frames if frame.head.seq not in stored]
        if beyond:
            async with self._database.read() as session:
                batches = await store.batches(session, row.session_id, row.epoch, beyond[0], beyond[-1])
            for batch in batches:
                stored |= ingest.hashes(await asyncio.to_thread(self._objects.get, batch.name))
        ingest.compare(frames, stored)

    async def _keep(
        self,
        gateway_id: str,
        batch: Batch,
        row: RecordEpochRow | None,
        head: EpochHead,
        opened: Opened,
        stored: RecordBatchRow,
        place: RecordPlace,
    ) -> RecordEpochRow:
        found = await asyncio.to_thread(harvest, batch.session_id, batch.epoch, opened.entries)
        async with self._database.write() as session:
            kept = await store.epoch(session, batch.session_id, batch.epoch)
            if kept is None:
                kept = RecordEpochRow(
                    session_id=batch.session_id,
                    epoch=batch.epoch,
                    gateway_id=gateway_id,
                    audit_key_id=head.audit_key_id,
                    sealed_key=head.sealed_key,
                    head_hash=ingest.hashes(batch.frames[0].raw)[0],
                    size=0,
                    closed=False,
                )
                session.add(kept)
            kept.seq, kept.hash = opened.link.seq, opened.link.hash
            kept.size += stored.size
            kept.closed = kept.closed or found.closed or opened.closed
            session.add(stored)
            await session.flush()
            await store.insert_rows(session, found.rows.values())
            for outcome in found.outcomes:
                await store.merge_outcome(session, batch.session_id, batch.epoch, outcome)
            if found.commands or found.errors:
                await self._directory.record_counts(session, batch.session_id, found.commands, found.errors)
            if place.ended and kept.closed:
                await self._judge.settle(session, batch.session_id)
        return kept

    async def _raise_alarm(self, gateway_id: str, batch: Batch, alarm: Alarm, place: RecordPlace) -> None:
        _log.error("records.alarm", session=batch.session_id, epoch=batch.epoch, seq=alarm.seq, how=alarm.how.value)
        cause = Cause(actor=f"gateway {gateway_id}", actor_id=gateway_id)
        details = {"epoch": batch.epoch, "seq": alarm.seq, "how": alarm.how.value, "detail": alarm.detail}
        async with self._database.write() as session:
            row = await store.epoch(session, batch.session_id, batch.epoch)
            if row is None:
                row = RecordEpochRow(
                    session_id=batch.session_id,
                    epoch=batch.epoch,
                    gateway_id=gateway_id,
                    audit_key_id="",
                    sealed_key=b"",
                    head_hash=b"",
                    seq=-1,
                    hash=b"",
                )
                session.add(row)
            row.alarm, row.alarm_seq, row.alarm_detail = alarm.how.value, alarm.seq, alarm.detail
            await self._directory.record_verification(session, batch.session_id, VerificationState.TAMPERED)
            await self._audit_log.append(
                session,
                cause,
                Event.RECORDS_ALARM,
                batch.session_id,
                project_id=place.scope.project_id,
                details=details,
            )


def _alarmed(detail: str) -> ProblemError:
    return ProblemError(
        ProblemCode.RECORDS_REFUSED, f"This epoch's records are not taken any more: {detail}.", context={"alarm": True}
    )
