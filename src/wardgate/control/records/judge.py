"""What is known of a session's chain without reading it again, and the control plane's seal over it.

A seal is a signature over the heads of all epochs at one moment. It is made when a session has ended and all of it has
arrived, and every few minutes while one goes on, so that what was cut off later is missed. Seals are added and never
changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import VerificationState
from ...audit.chain import Link, seal_statement
from ..access.places import RecordPlace, SessionDirectory
from ..audit_log import AuditLog, Event
from ..audit_log.log import SYSTEM
from ..db import Database
from ..sources import Sources
from ..vault import AuditKeys
from . import store
from .feed import Feed
from .model import RecordEpochRow, RecordSealRow

# How long after a session's end its tail may still be on its way without anybody calling the session incomplete.
_TAIL_GRACE: Final = timedelta(seconds=60)
_SEAL_EVERY: Final = timedelta(minutes=5)
_SWEEP: Final = 100
# Judged once: who could make the seal of a spoilt store again by asking would make it worthless.
_FINAL: Final = frozenset({VerificationState.TAMPERED, VerificationState.VERIFIED})


class Judge:
    """Says and seals."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        keys: AuditKeys,
        directory: SessionDirectory,
        feed: Feed,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._keys = keys
        self._directory = directory
        self._feed = feed

    async def sweep(self) -> None:
        """Judge sessions that have ended, and seal from time to time what goes on."""
        now = self._sources.now()
        async with self._database.read() as session:
            ended = await self._directory.unverified(session, _SWEEP)
            stale = await store.unsealed(session, now - _SEAL_EVERY, _SWEEP)
        for session_id in ended:
            async with self._database.write() as session:
                await self.settle(session, session_id)
        for session_id in stale:
            if session_id not in ended:
                async with self._database.write() as session:
                    epochs = await store.epochs(session, session_id)
                    await self._seal(session, session_id, epochs, final=False, now=now)

    async def settle(self, session: AsyncSession, session_id: str) -> None:
        """Say what is known of an ended session's chain without reading it again; seal it if it is whole."""
        place = await self._directory.record_place(session, session_id)
        if place is None or not place.ended or place.verification in _FINAL:
            return
        now = self._sources.now()
        epochs = await store.epochs(session, session_id)
        state = state_of(place, epochs, now)
        if state is VerificationState.OPEN:
            return
        if state is VerificationState.VERIFIED:
            await self._seal(session, session_id, epochs, final=True, now=now)
            heads = [{"epoch": row.epoch, "seq": row.seq, "hash": row.hash.hex()} for row in epochs]
            await self._audit_log.append(
                session,
                SYSTEM,
                Event.SESSION_SEALED,
                session_id,
                project_id=place.scope.project_id,
                details={"heads": heads},
            )
        await self._directory.record_verification(session, session_id, state)

    async def _seal(
        self, session: AsyncSession, session_id: str, epochs: Sequence[RecordEpochRow], *, final: bool, now: datetime
    ) -> None:
        made = await store.seals(session, session_id)
        if all(row.seq <= row.sealed_seq for row in epochs) and (not final or (made and made[-1].final)):
            return  # the last seal says the same
        heads = [Link(row.epoch, row.seq, row.hash) for row in epochs if row.seq >= 0]
        sealed_at_us = int(now.timestamp() * 1_000_000)
        statement = seal_statement(session_id, heads, final=final, sealed_at_us=sealed_at_us)
        key_id, signature = self._keys.sign_head(statement)
        session.add(
            RecordSealRow(
                session_id=session_id,
                number=len(made) + 1,
                final=final,
                statement=statement,
                key_id=key_id,
                signature=signature,
                sealed_at=now,
            )
        )
        for link in heads:
            await store.mark_sealed(session, session_id, link.epoch, link.seq, now)
        await self._feed.sealed(session, session_id, len(made) + 1)


def state_of(place: RecordPlace, epochs: Sequence[RecordEpochRow], now: datetime) -> VerificationState:
    """What the rows say; the chains themselves are checked by `verifying`."""
    if any(row.alarm is not None for row in epochs):
        return VerificationState.TAMPERED
    if not place.ended:
        return VerificationState.OPEN
    if unfinished(place, epochs)[0] is None:
        return VerificationState.VERIFIED
    if place.ended_at is not None and now < place.ended_at + _TAIL_GRACE:
        return VerificationState.OPEN
    return VerificationState.INCOMPLETE


def unfinished(place: RecordPlace, epochs: Sequence[RecordEpochRow]) -> tuple[int | None, int | None]:
    """The first leased epoch whose end has not come, and the sequence number that is awaited."""
    known = {row.epoch: row for row in epochs}
    for number in sorted(place.epochs):
        row = known.get(number)
        if row is None:
            return number, 0
        if not row.closed:
            return number, row.seq + 1
    return None, None
