"""Records as people see them: the log of a session, its export, and whether it is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ...api.audit import AuditKey, ExportFormat
from ...api.machine import RecordsAck
from ...api.models import Page, Record, Verification
from ..access.places import SessionDirectory
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor
from ..identity.permissions import Permission
from ..paging import Paging
from ..sources import Sources
from ..vault import AuditKeys
from .exporting import Exporter
from .intake import Intake
from .judge import Judge
from .keyring import Keyring
from .objects import ObjectStore
from .paging import LogPages, cursor_of, read_cursor
from .proving import Prover


class RecordService:
    """The records of all sessions: one door to what the parts of this feature do."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        keys: AuditKeys,
        directory: SessionDirectory,
        objects: ObjectStore,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._directory = directory
        keyring = Keyring(keys)
        self._judge = Judge(database, audit_log, sources, keys, directory)
        self._intake = Intake(database, audit_log, sources, keyring, directory, objects, self._judge)
        self._pages = LogPages(database, keyring, objects)
        self._prover = Prover(database, sources, keys, keyring, directory, objects, self._judge)
        self._exporter = Exporter(database, audit_log, sources, keys, keyring, directory, objects, self._pages)

    async def ingest(self, gateway_id: str, body: bytes, instance_id: str = "") -> RecordsAck:
        """Take a batch of frames from a gateway; ProblemError `invalid_request` or `records_refused`."""
        return await self._intake.ingest(gateway_id, body, instance_id)

    async def sweep(self) -> None:
        """Judge sessions that have ended, and seal from time to time what goes on."""
        await self._judge.sweep()

    async def read(self, actor: Actor, session_id: str, paging: Paging) -> Page[Record]:
        """A page of a session's log; ProblemError `not_found`, `forbidden`, `invalid_request` (a bad cursor)."""
        after = read_cursor(paging.after)
        async with self._database.read() as session:
            place = await self._directory.must_find(session, session_id)
        actor.require(Permission.ACCOUNT_RECORD_READ, place.scope, what=f"session {session_id}")
        items, more = await self._pages.page(session_id, after, paging.limit)
        if after is None:
            async with self._database.write() as session:
                await self._audit_log.append(
                    session, actor.cause, Event.RECORDS_READ, session_id, project_id=place.scope.project_id
                )
        return Page[Record](items=items, next=cursor_of(items[-1]) if more and items else None)

    async def export(self, actor: Actor, session_id: str, form: ExportFormat) -> AsyncIterator[bytes]:
        """A session as a file, in pieces; ProblemError `not_found`, `forbidden` before the first."""
        return await self._exporter.export(actor, session_id, form)

    async def verify(self, actor: Actor, session_id: str) -> Verification:
        """Check a session from its first stored frame to its last; ProblemError `not_found`, `forbidden`."""
        return await self._prover.verify(actor, session_id)

    def keys(self) -> Page[AuditKey]:
        """The keys that seals are checked with: they are public."""
        return Page[AuditKey](items=self._prover.keys())
