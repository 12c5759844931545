"""Reading the control plane's audit log and checking its chain.

Law: who may read a project's events sees those of that project and no other; events of no project (logins, users,
relays) are the organisation's. Reading changes nothing, so it is no event itself; the records of sessions differ there.
"""

from __future__ import annotations

from ...api.journal import AuditEntry, JournalVerification
from ...api.models import Page
from ...api.problems import ProblemCode, ProblemError
from ..audit_log import AuditLog
from ..audit_log.model import AuditEvent
from ..db import Database
from ..identity.actor import ORGANISATION, Actor
from ..identity.permissions import Permission
from ..paging import Paging, page_of
from . import store
from .store import Filter


class JournalService:
    """The log as actors see it."""

    def __init__(self, database: Database, audit_log: AuditLog) -> None:
        self._database = database
        self._audit_log = audit_log

    async def page(self, actor: Actor, wanted: Filter, paging: Paging) -> Page[AuditEntry]:
        """Events, newest first."""
        held = [b.scope for b in actor.bindings if b.permits(Permission.PROJECT_AUDIT_READ)]
        everything = any(scope == ORGANISATION for scope in held)
        projects = frozenset(s.project_id for s in held if s.project_id and s.resource_id is None)
        async with self._database.read() as session:
            rows = await store.newest(
                session,
                wanted,
                only=None if everything else projects,
                before=_cursor(paging.after),
                limit=paging.limit + 1,
            )
        return page_of(rows, paging, _describe, lambda row: str(row.seq))

    async def verify(self) -> JournalVerification:
        """Check the whole chain."""
        async with self._database.read() as session:
            broken = await self._audit_log.first_broken(session)
            last = await store.last(session)
            events = await store.count(session)
        head = None if last is None else last.hash.hex()
        return JournalVerification(ok=broken is None, events=events, first_broken=broken, head=head)


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "`after` is not a cursor that this list gave out.")
    return int(text)


def _describe(row: AuditEvent) -> AuditEntry:
    return AuditEntry(
        seq=row.seq,
        at=row.at,
        event=row.event,
        actor=row.actor,
        actor_id=row.actor_id,
        address=row.address,
        client=row.client,
        target=row.target,
        project_id=row.project_id,
        details=row.details,
    )
