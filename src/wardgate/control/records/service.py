"""Records as people see them: the log of a session, its export, and whether it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

from ...api.audit import AuditKey, ClientConnection, ExportFormat, LogFilter, RecordHit, RecordQuery, Timeline
from ...api.machine import RecordsAck
from ...api.masking import MaskingPreview, MaskingPreviewRequest
from ...api.models import Page, Record, Verification, VerificationState
from ..access.places import SessionDirectory
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor
from ..identity.permissions import Permission
from ..paging import Paging
from ..projects import RecordKeeping
from ..sources import Sources
from ..vault import AuditKeys
from . import shape
from .exporting import Exporter
from .feed import Feed
from .intake import Intake
from .judge import Judge
from .keyring import Keyring
from .objects import ObjectStore
from .paging import LogPages, cursor_of, read_cursor
from .previewing import Previewer
from .proving import Prover
from .retention import Retention
from .search import Search
from .stored import Batches
from .tail import LONGEST_WAIT, Tail, settled

_TELL_AGAIN: Final = timedelta(minutes=10)
_REMEMBERED: Final = 4096


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
        keeping: RecordKeeping,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._directory = directory
        keyring = Keyring(keys)
        batches = Batches(objects, keyring)
        self._pages = LogPages(database, keyring, batches)
        self.feed = Feed(database, directory, self._pages)
        self._judge = Judge(database, audit_log, sources, keys, directory, self.feed)
        self._tail = Tail()
        self._intake = Intake(
            database, audit_log, sources, keyring, directory, batches, self._judge, self._tail, self.feed
        )
        self._retention = Retention(database, audit_log, sources, directory, batches, keeping)
        self._search = Search(database, audit_log, self._pages)
        self._previewer = Previewer(database, audit_log, self._search)
        self._told: dict[tuple[str, str], datetime] = {}
        # Says whether the program stops: who waits then is answered at once.
        self.stopping: Callable[[], bool] = lambda: False
        self._prover = Prover(database, sources, keys, keyring, directory, batches, self._judge)
        self._exporter = Exporter(database, audit_log, sources, keys, keyring, directory, batches, self._pages)

    async def ingest(self, gateway_id: str, body: bytes, instance_id: str = "") -> RecordsAck:
        """Take a batch of frames from a gateway; ProblemError `invalid_request` or `records_refused`."""
        return await self._intake.ingest(gateway_id, body, instance_id)

    async def sweep(self) -> None:
        """Judge sessions that have ended, and seal from time to time what goes on."""
        await self._judge.sweep()

    async def retire(self) -> None:
        """Delete what its project does not keep any longer."""
        await self._retention.sweep()

    async def read(self, actor: Actor, session_id: str, paging: Paging, asked: LogFilter | None = None) -> Page[Record]:
        """A page of a session's log; ProblemError `not_found`, `forbidden`, `invalid_request` (a bad cursor)."""
        after = read_cursor(paging.after)
        await self._admit(actor, session_id)
        items, more = await self._pages.page(session_id, after, paging.limit, asked)
        return Page[Record](items=items, next=cursor_of(items[-1]) if more and items else None)

    async def follow(
        self, actor: Actor, session_id: str, paging: Paging, wait_s: float, asked: LogFilter | None = None
    ) -> Page[Record]:
        """What comes next in a log that goes on, waited for. `next` is null once the session has ended and all of its
        records are here."""
        after = read_cursor(paging.after)
        await self._admit(actor, session_id)
        loop = asyncio.get_running_loop()
        until = loop.time() + min(wait_s, LONGEST_WAIT)
        with self._tail.watch(session_id) as watch:
            while True:
                over = await self._is_over(session_id)
                items, more = await self._pages.page(session_id, after, paging.limit, asked)
                shown = items if over else settled(items, self._sources.now())
                left = until - loop.time()
                if shown or over or left <= 0 or self.stopping():
                    last = cursor_of(shown[-1]) if shown else paging.after or "0.0"
                    return Page[Record](items=shown, next=None if over and not more else last)
                await watch.wait(left)

    async def _is_over(self, session_id: str) -> bool:
        """Whether nothing more is to come: each leased epoch was closed, or the session was judged without."""
        async with self._database.read() as session:
            place = await self._directory.must_find(session, session_id)
        return place.ended and place.verification is not VerificationState.OPEN

    async def _admit(self, actor: Actor, session_id: str) -> None:
        """Whether the actor may read; that they do is an event, once in a while and not for each page."""
        async with self._database.read() as session:
            place = await self._directory.must_find(session, session_id)
        actor.require(Permission.ACCOUNT_RECORD_READ, place.scope, what=f"session {session_id}")
        reader, now = (actor.sign_in_id, session_id), self._sources.now()
        told = self._told.get(reader)
        if told is not None and now - told < _TELL_AGAIN:
            return
        async with self._database.write() as session:
            await self._audit_log.append(
                session, actor.cause, Event.RECORDS_READ, session_id, project_id=place.scope.project_id
            )
        self._told.pop(reader, None)
        self._told[reader] = now
        while len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]

    async def connections(self, actor: Actor, session_id: str) -> Page[ClientConnection]:
        """The client connections of a session; ProblemError `not_found`, `forbidden`."""
        await self._admit(actor, session_id)
        async with self._database.read() as session:
            return Page[ClientConnection](items=await shape.connections(session, session_id))

    async def timeline(self, actor: Actor, session_id: str) -> Timeline:
        """A session's activity over time; ProblemError `not_found`, `forbidden`."""
        await self._admit(actor, session_id)
        async with self._database.read() as session:
            return await shape.timeline(session, session_id)

    async def search(self, actor: Actor, asked: RecordQuery, paging: Paging) -> Page[RecordHit]:
        """A page of lines of all sessions; ProblemError `not_found`, `forbidden`, `invalid_request`."""
        return await self._search.search(actor, asked, paging)

    async def preview_masking(
        self, actor: Actor, project_id: str, asked: MaskingPreviewRequest, after: str | None
    ) -> MaskingPreview:
        """What a rule would have masked; ProblemError `not_found`, `forbidden`, `invalid_request`."""
        return await self._previewer.preview(actor, project_id, asked, after)

    async def export(self, actor: Actor, session_id: str, form: ExportFormat) -> AsyncIterator[bytes]:
        """A session as a file, in pieces; ProblemError `not_found`, `forbidden` before the first."""
        return await self._exporter.export(actor, session_id, form)

    async def verify(self, actor: Actor, session_id: str) -> Verification:
        """Check a session from its first stored frame to its last; ProblemError `not_found`, `forbidden`."""
        return await self._prover.verify(actor, session_id)

    def keys(self) -> Page[AuditKey]:
        """The keys that seals are checked with: they are public."""
        return Page[AuditKey](items=self._prover.keys())
