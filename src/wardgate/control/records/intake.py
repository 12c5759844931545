"""Taking what gateways deliver.

Order of an ingest: check, keep the object, then the rows in one transaction, then acknowledge. A crash between any two
leaves a delivery that comes again. One batch of a session at a time.

Where an epoch stands, and its key, is remembered from batch to batch. That is a guess: the transaction moves the head
only from exactly there, and one that finds another head (or an alarm) is done again from what the database says.

Law: nothing is acknowledged that would not survive a power cut, and nothing is taken from a gateway that was not leased
the epoch. An alarm is final for its epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import RecordsAck
from ...api.models import VerificationState
from ...api.problems import ProblemCode, ProblemError
from ...audit.chain import Link
from ...net import logs
from ..access.places import Counts, RecordStanding, SessionDirectory
from ..audit_log import AuditLog, Event
from ..audit_log.log import Cause
from ..db import Database
from ..sources import Sources
from . import ingest, places, store
from .feed import Feed
from .ingest import Alarm, Known, Overlap, Taken
from .judge import Judge
from .keyring import Keyring
from .model import RecordEpochRow
from .rows import Harvest, documents_of
from .stored import Batches
from .tail import Tail

_REMEMBERED: Final = 1024  # epochs

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
        objects: Batches,
        judge: Judge,
        tail: Tail,
        feed: Feed,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._keyring = keyring
        self._directory = directory
        self._objects = objects
        self._judge = judge
        self._tail = tail
        self._feed = feed
        self._recent: dict[tuple[str, int], Known] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ingest(self, gateway_id: str, body: bytes, instance_id: str = "") -> RecordsAck:
        """Take a batch of frames; ProblemError `invalid_request` or `records_refused`."""
        place = ingest.whose(body)
        async with self._turns.setdefault(place[0], asyncio.Lock()):
            # Out of the cache while we work: it comes back only with what was committed.
            known = self._recent.pop(place, None)
            if known is not None and known.gateway_id == gateway_id and known.holder in ("", instance_id):
                with suppress(store.Moved):
                    return await self._take(known, body)
            known = await self._look_up(gateway_id, instance_id, *place)
            return await self._take(known, body)

    async def _look_up(self, gateway_id: str, instance_id: str, session_id: str, epoch: int) -> Known:
        """The epoch as the database has it; ProblemError `records_refused` if nothing is taken for it."""
        async with self._database.read() as session:
            place = await self._directory.record_place(session, session_id)
            row = await store.epoch(session, session_id, epoch)
            number = await places.find(session, place) if place is not None else None
        holder = "" if place is None else place.holders.get(epoch, "")
        if place is None or place.epochs.get(epoch) != gateway_id or holder not in ("", instance_id):
            raise ProblemError(
                ProblemCode.RECORDS_REFUSED, f"This gateway was not leased epoch {epoch} of session {session_id}."
            )
        if row is not None and row.deleted_at is not None:
            raise ProblemError(ProblemCode.RECORDS_REFUSED, "The records of this session have been deleted.")
        if row is not None and row.alarm is not None:
            raise _alarmed(row.alarm_detail or row.alarm)
        if number is None:
            async with self._database.write() as session:
                number = await places.make(session, place)
        if row is None:
            return Known(
                session_id,
                epoch,
                gateway_id,
                holder,
                place=number.id,
                project=number.project,
                project_id=number.project_id,
            )
        return Known(
            session_id,
            epoch,
            gateway_id,
            holder,
            row.audit_key_id,
            row.sealed_key,
            self._keyring.epoch_key(session_id, epoch, row.audit_key_id, row.sealed_key),
            row.head_hash,
            Link(epoch, row.seq, row.hash),
            row.closed,
            number.id,
            number.project,
            number.project_id,
        )

    async def _take(self, known: Known, body: bytes) -> RecordsAck:
        try:
            try:
                taken, name = await asyncio.to_thread(self._open, known, body, {})
            except Overlap as overlap:
                stored = await self._stored(known, overlap)
                taken, name = await asyncio.to_thread(self._open, known, body, stored)
        except Alarm as alarm:
            await self._raise_alarm(known, alarm)
            raise _alarmed(alarm.detail) from alarm
        standing = await self._keep(known, taken, name)
        if taken is not None:
            known = taken.known
            self._tail.wake(known.session_id)
        self._remember(known)
        assert known.link is not None
        return RecordsAck(
            session_id=known.session_id,
            epoch=known.epoch,
            seq=known.link.seq,
            hash=known.link.hash.hex(),
            fenced=standing.newest_epoch > known.epoch,
            closed=known.closed,
        )

    def _open(self, known: Known, body: bytes, stored: Mapping[int, bytes]) -> tuple[Taken | None, str]:
        """All the work that needs neither the loop nor the database, in a thread: check, open, and keep the object."""
        taken = ingest.take(known, body, self._keyring.epoch_key, stored)
        return taken, "" if taken is None else self._objects.keep(_name(taken), taken.data)

    async def _stored(self, known: Known, overlap: Overlap) -> dict[int, bytes]:
        """The hashes of frames that were delivered before; objects are read only for those that nothing else tells."""
        async with self._database.read() as session:
            batches = await store.batches(session, known.session_id, known.epoch, overlap.first, overlap.last)
        stored: dict[int, bytes] = {}
        for batch in batches:
            stored |= await asyncio.to_thread(self._hashes, batch.name)
        return stored

    def _hashes(self, name: str) -> dict[int, bytes]:
        return ingest.hashes(self._objects.get(name))

    async def _keep(self, before: Known, taken: Taken | None, name: str) -> RecordStanding:
        """Write the rows of what is new, all or nothing; how the session stands. Moved if `before` is not true."""
        session_id, found = before.session_id, taken.harvest if taken is not None else Harvest()
        read = changed = 0
        async with self._database.write() as session:
            if taken is not None:
                await self._add(session, before, taken, name)
                read, changed = await self._of_earlier(session, taken)
            counts = Counts(
                found.commands, found.errors, found.documents_read + read, found.documents_changed + changed
            )
            standing = await self._directory.record_counts(session, session_id, counts)
            if standing.ended and taken is not None and taken.known.closed:
                await self._judge.settle(session, session_id)
        return standing

    async def _add(self, session: AsyncSession, before: Known, taken: Taken, name: str) -> None:
        after, size = taken.known, len(taken.data)
        if before.link is None:
            await store.begin(session, after, size)
        else:
            await store.advance(session, before, after, size)
        batch = {
            "session_id": after.session_id,
            "epoch": after.epoch,
            "first_seq": taken.first_seq,
            "last_seq": after.seq,
            "name": name,
            "size": size,
            "stored_at": self._sources.now(),
        }
        await store.add_batch(session, batch)
        await store.add_rows(session, list(taken.harvest.rows.values()))
        await store.conclude(session, after.session_id, after.epoch, taken.harvest.outcomes)
        await self._feed.arrived(session, after.session_id, after.project_id, after.epoch, taken.first_seq - 1)

    async def _of_earlier(self, session: AsyncSession, taken: Taken) -> tuple[int, int]:
        """The documents read and changed by commands that came in an earlier batch than their outcomes."""
        told = [each for each in taken.harvest.outcomes if each.documents or each.modified or each.upserted]
        if not told:
            return 0, 0
        after, seqs = taken.known, [each.intent_seq for each in told]
        effects = await store.effects(session, after.session_id, after.epoch, seqs)
        sums = [documents_of(effects.get(each.intent_seq), each) for each in told]
        return sum(read for read, _ in sums), sum(changed for _, changed in sums)

    def _remember(self, known: Known) -> None:
        if known.closed:
            return
        self._recent[known.session_id, known.epoch] = known
        while len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]

    async def _raise_alarm(self, known: Known, alarm: Alarm) -> None:
        session_id, epoch, gateway_id = known.session_id, known.epoch, known.gateway_id
        _log.error("records.alarm", session=session_id, epoch=epoch, seq=alarm.seq, how=alarm.how.value)
        cause = Cause(actor=f"gateway {gateway_id}", actor_id=gateway_id)
        details = {"epoch": epoch, "seq": alarm.seq, "how": alarm.how.value, "detail": alarm.detail}
        async with self._database.write() as session:
            place = await self._directory.record_place(session, session_id)
            row = await store.epoch(session, session_id, epoch)
            if row is None:
                row = RecordEpochRow(
                    session_id=session_id,
                    epoch=epoch,
                    gateway_id=gateway_id,
                    audit_key_id="",
                    sealed_key=b"",
                    head_hash=b"",
                    seq=-1,
                    hash=b"",
                )
                session.add(row)
            row.alarm, row.alarm_seq, row.alarm_detail = alarm.how.value, alarm.seq, alarm.detail
            await self._directory.record_verification(session, session_id, VerificationState.TAMPERED)
            await self._audit_log.append(
                session,
                cause,
                Event.RECORDS_ALARM,
                session_id,
                project_id=place.scope.project_id if place is not None else None,
                details=details,
            )


def _name(taken: Taken) -> str:
    """By what is in it: an object is never replaced by another, whatever comes again after a crash."""
    known = taken.known
    assert known.link is not None
    return f"{known.session_id}/{known.epoch:08d}-{taken.first_seq:012d}-{known.link.hash[:8].hex()}"


def _alarmed(detail: str) -> ProblemError:
    return ProblemError(
        ProblemCode.RECORDS_REFUSED, f"This epoch's records are not taken any more: {detail}.", context={"alarm": True}
    )
