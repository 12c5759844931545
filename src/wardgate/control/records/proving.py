"""Verifying a session: its chains and seals, and the rows that were made of them.

Everything is read again, from the first stored frame to the last, on one snapshot of the database. Few run at a time,
since each keeps a thread busy.
"""

from __future__ import annotations

import asyncio
import base64
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from ... import ids
from ...api.audit import AuditKey
from ...api.models import Verification, VerificationState
from ...api.problems import ProblemError
from ...net.certs import to_pem
from ...proof import session as proof
from ...proof.breaks import Break, ChainBroken
from ...proof.epoch import HeadFacts
from ...proof.seals import StoredSeal
from ..access.places import RecordPlace, SessionDirectory
from ..db import Database
from ..identity.actor import Actor
from ..identity.permissions import Permission
from ..sources import Sources
from ..vault import AuditKeys
from . import places, store
from .evidence import Evidence, gather
from .judge import Judge, state_of, unfinished
from .keyring import Keyring
from .model import RecordPlaceRow
from .retention import deleted_at
from .rowcheck import RowCheck, Stored, stored_rows
from .stored import Batches

_AT_ONCE: Final = 2


class Prover:
    """Verifies."""

    def __init__(
        self,
        database: Database,
        sources: Sources,
        keys: AuditKeys,
        keyring: Keyring,
        directory: SessionDirectory,
        objects: Batches,
        judge: Judge,
    ) -> None:
        self._database = database
        self._sources = sources
        self._keys = keys
        self._keyring = keyring
        self._directory = directory
        self._objects = objects
        self._judge = judge
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def keys(self) -> list[AuditKey]:
        """The keys that seals are checked with."""
        return [
            AuditKey(id=key_id, certificate=to_pem(certificate).decode(), current=key_id == self._keys.head_key_id)
            for key_id, certificate in self._keys.head_certificates().items()
        ]

    async def verify(self, actor: Actor, session_id: str) -> Verification:
        """Check a session from its first stored frame to its last; ProblemError `not_found`, `forbidden`."""
        async with self._database.read() as session:
            place = await self._directory.must_find(session, session_id)
        own = place.user_id == actor.user_id
        needed = Permission.ACCOUNT_OWN_SESSION_READ if own else Permission.ACCOUNT_SESSION_READ
        actor.require(needed, place.scope, what=f"session {session_id}")
        async with self._turns:
            if place.ended and place.verification in _UNJUDGED:
                async with self._database.write() as session:
                    await self._judge.settle(session, session_id)
            async with self._database.read() as session:
                place = await self._directory.must_find(session, session_id)
                evidence = await gather(session, session_id)
                gone = deleted_at(evidence.epochs)
                if gone is not None:
                    return _deleted(session_id, evidence, gone)
                number = await places.find(session, place)
                checked = await self._check(session, evidence, number)
        answer = self._answer(place, evidence, checked)
        if answer.state is not place.verification and VerificationState.TAMPERED in (answer.state, place.verification):
            async with self._database.write() as session:
                await self._directory.record_verification(session, session_id, answer.state)
        return answer

    async def _check(self, session: AsyncSession, evidence: Evidence, place: RecordPlaceRow | None) -> proof.Checked:
        """Run the check in a thread, which asks this loop for the rows that it needs."""
        session_id, loop = evidence.session_id, asyncio.get_running_loop()

        def fetch(epoch: int, first: int, last: int) -> dict[int, Stored]:
            asked = stored_rows(session, session_id, epoch, first, last)
            return asyncio.run_coroutine_threadsafe(asked, loop).result()

        rows = RowCheck(session_id, place.id if place else 0, place.project if place else 0, fetch)
        checked = await asyncio.to_thread(self._prove, evidence, rows)
        if checked.broken is None:
            checked.broken = await _beyond(session, evidence, rows.rows)
        return checked

    def _prove(self, evidence: Evidence, rows: RowCheck) -> proof.Checked:
        session_id = evidence.session_id

        def unseal(epoch: int, head: HeadFacts) -> bytes:
            try:
                return self._keyring.epoch_key(session_id, epoch, head.audit_key_id, head.sealed_key)
            except ProblemError as error:
                raise ValueError(error.message) from error

        seals = [
            StoredSeal(seal.statement, self._keys.verify_head(seal.key_id, seal.signature, seal.statement))
            for seal in evidence.seals
        ]
        session = ids.to_bytes(session_id, ids.Kind.SESSION)
        checked = proof.check(session, session_id, evidence.stored(), seals, self._objects.open, unseal, rows.visit)
        if checked.broken is None:
            try:
                rows.end()
            except ChainBroken as broken:
                checked.broken = broken
        return checked

    def _answer(self, place: RecordPlace, evidence: Evidence, checked: proof.Checked) -> Verification:
        epochs, seals = evidence.epochs, evidence.seals
        state = state_of(place, epochs, self._sources.now())
        answer = Verification(
            session_id=place.session_id, state=state, records=checked.records, epochs=len(epochs), seals=len(seals)
        )
        broken = checked.broken
        if broken is None and state is VerificationState.VERIFIED and not checked.sealed:
            if place.verification is VerificationState.TAMPERED:  # mended before it was ever sealed: it will be judged
                answer.state = VerificationState.OPEN
            else:
                last = checked.last
                where = (last.epoch, last.seq) if last else (0, 0)
                broken = ChainBroken(Break.MISSING_SEAL, *where, "the final seal is missing")
        if broken is not None:
            answer.state, answer.how = VerificationState.TAMPERED, broken.how.value
            answer.epoch, answer.seq, answer.detail = broken.epoch, broken.seq, str(broken)
        elif state is VerificationState.TAMPERED:
            bad = next(row for row in epochs if row.alarm is not None)
            answer.how, answer.epoch, answer.seq, answer.detail = bad.alarm, bad.epoch, bad.alarm_seq, bad.alarm_detail
        elif state is VerificationState.INCOMPLETE:
            answer.epoch, answer.seq = unfinished(place, epochs)
            answer.detail = f"The gateway has not delivered the end of epoch {answer.epoch}."
        if checked.last is not None:
            answer.head = checked.last.hash.hex()
        if seals:
            answer.sealed_at = seals[-1].sealed_at
        if checked.sealed and answer.state is VerificationState.VERIFIED:
            answer.signature = base64.b64encode(seals[-1].signature).decode()
        return answer


def _deleted(session_id: str, evidence: Evidence, at: datetime) -> Verification:
    """Nothing is there to be checked. Who hides something behind this has left no event of it in the audit log."""
    return Verification(
        session_id=session_id,
        state=VerificationState.INCOMPLETE,
        records=0,
        epochs=len(evidence.epochs),
        seals=len(evidence.seals),
        sealed_at=evidence.seals[-1].sealed_at if evidence.seals else None,
        how="deleted",
        detail=f"The project's retention deleted this record at {at:%Y-%m-%d %H:%M} UTC; the audit log has its heads.",
    )


_UNJUDGED: Final = frozenset({VerificationState.OPEN, VerificationState.INCOMPLETE})


async def _beyond(session: AsyncSession, evidence: Evidence, seen: int) -> ChainBroken | None:
    """A row outside of every stored epoch, which the check did not meet."""
    if await store.count_rows(session, evidence.session_id) == seen:
        return None
    ends = {row.epoch: row.seq for row in evidence.epochs}
    place = await store.row_beyond(session, evidence.session_id, ends)
    return place and ChainBroken(Break.FOREIGN_ROW, *place, "the database has a row that no record stands behind")
