"""Setting streams: by administrators of the organisation or of a project, and everything that they do is an event.

A project's stream gets what that project does; the organisation's gets everything. A stream begins where it is made:
what was there before is exported (`session export`), not streamed.
"""

from __future__ import annotations

import base64
import json
from time import monotonic
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import Page
from ...api.problems import ProblemCode, ProblemError
from ...api.streams import (
    Stream,
    StreamCreate,
    StreamKind,
    StreamSecret,
    StreamState,
    StreamStatus,
    StreamTest,
    StreamUpdate,
)
from ...ids import Kind
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, not_found
from ..identity.permissions import Permission
from ..paging import Paging
from ..projects import ProjectService
from ..sources import Sources
from ..vault import Vault
from . import formats, lines, store, target
from .model import StreamPositionRow, StreamRow
from .opening import Opener
from .pump import Deliveries
from .senders import NotSent

_ORGANISATION: Final = "organisation"
_MOST_STREAMS: Final = 20  # at one place: each is a connection and a copy of everything
_TABLE: Final = StreamRow.__tablename__


class StreamService:
    """The streams of an organisation and of its projects."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        vault: Vault,
        projects: ProjectService,
        opener: Opener,
        deliveries: Deliveries,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._projects = projects
        self._opener = opener
        self._deliveries = deliveries

    async def create(self, actor: Actor, project_id: str | None, body: StreamCreate) -> StreamSecret:
        """A new stream, and the key that its requests are signed with; ProblemError `conflict`, `invalid_request`."""
        _require(actor, project_id)
        where = target.parse(body.kind, body.url, self._opener.outbound)
        target.check_bodies(where, body.bodies)
        target.tls_context(body.ca_certificate)
        headers = _headers(body.kind, body.headers)
        secret = self._new_secret(body.kind)
        scope = project_id or _ORGANISATION
        async with self._database.write() as session:
            if project_id is not None:
                await self._projects.must_exist(session, project_id)
            if await store.by_name(session, scope, body.name) is not None:
                raise ProblemError(ProblemCode.CONFLICT, f"There is already a stream {body.name} here.")
            if await store.count(session, scope) >= _MOST_STREAMS:
                raise ProblemError(ProblemCode.CONFLICT, f"There are {_MOST_STREAMS} streams here, and no more can be.")
            stream_id = self._sources.new_id(Kind.STREAM)
            row = StreamRow(
                id=stream_id,
                scope=scope,
                project_id=project_id,
                name=body.name,
                kind=body.kind,
                url=body.url,
                commands=body.commands,
                events=body.events,
                bodies=body.bodies,
                ca_certificate=body.ca_certificate,
                header_names=sorted(headers),
                sealed=await self._seal(session, project_id, stream_id, secret, headers),
                created_at=self._sources.now(),
                event_seq=await store.newest_event(session),
            )
            session.add(row)
            await session.flush()
            await self._tell(session, actor, Event.STREAM_CREATED, row, _settings(row))
            described = await self._describe(session, row)
        self._deliveries.changed()
        return StreamSecret(stream=described, secret=secret)

    async def list_(self, project_id: str | None, paging: Paging) -> Page[Stream]:
        """The streams of a place."""
        async with self._database.read() as session:
            if project_id is not None:
                await self._projects.must_exist(session, project_id)
            rows = await store.page(session, project_id or _ORGANISATION, after=paging.after, limit=paging.limit + 1)
            items = [await self._describe(session, row) for row in rows[: paging.limit]]
        return Page[Stream](items=items, next=items[-1].id if len(rows) > paging.limit else None)

    async def get(self, project_id: str | None, name: str) -> Stream:
        """One stream; ProblemError `not_found`."""
        async with self._database.read() as session:
            return await self._describe(session, await _find(session, project_id, name))

    async def update(self, actor: Actor, project_id: str | None, name: str, body: StreamUpdate) -> Stream:
        """Change what is given; the event says what it was and what it is."""
        _require(actor, project_id)
        changes = body.model_dump(exclude_unset=True, exclude={"headers"})
        changes = {key: value for key, value in changes.items() if value is not None or key == "ca_certificate"}
        async with self._database.write() as session:
            row = await _find(session, project_id, name)
            before = _settings(row)
            url_changed = changes.get("url", row.url) != row.url
            for field, value in changes.items():
                setattr(row, field, value)
            where = target.parse(row.kind, row.url, self._opener.outbound)
            target.check_bodies(where, row.bodies)
            target.tls_context(row.ca_certificate)
            if body.headers is not None or url_changed:
                headers = _headers(row.kind, body.headers or {})
                secret = (await self._secrets(session, row))["secret"]
                row.sealed = await self._seal(session, project_id, row.id, secret, headers)
                row.header_names = sorted(headers)
            if not row.commands:
                await session.execute(delete(StreamPositionRow).where(StreamPositionRow.stream_id == row.id))
            if row.events and not before["events"]:
                row.event_seq = await store.newest_event(session)
            row.version += 1
            row.next_try_at = None
            after = _settings(row)
            changed = {key: {"from": before[key], "to": value} for key, value in after.items() if value != before[key]}
            if changed or body.headers is not None:
                await self._tell(session, actor, Event.STREAM_UPDATED, row, changed)
            described = await self._describe(session, row)
        self._deliveries.changed()
        return described

    async def make_secret(self, actor: Actor, project_id: str | None, name: str) -> StreamSecret:
        """A new signing key in place of the old one, from the next request on; ProblemError `invalid_request`."""
        _require(actor, project_id)
        async with self._database.write() as session:
            row = await _find(session, project_id, name)
            secret = self._new_secret(row.kind)
            if secret is None:
                raise ProblemError(ProblemCode.INVALID_REQUEST, f"A stream of kind {row.kind.value} signs nothing.")
            headers = (await self._secrets(session, row))["headers"]
            row.sealed = await self._seal(session, project_id, row.id, secret, headers)
            row.version += 1
            await self._tell(session, actor, Event.STREAM_SECRET_MADE, row, {})
            described = await self._describe(session, row)
        self._deliveries.changed()
        return StreamSecret(stream=described, secret=secret)

    async def remove(self, actor: Actor, project_id: str | None, name: str) -> None:
        """Forget a stream; what it had not sent is not sent any more. The event says how far it had come."""
        _require(actor, project_id)
        async with self._database.write() as session:
            row = await _find(session, project_id, name)
            details = {"url": row.url.partition("?")[0], "sent": row.sent, "event_seq": row.event_seq}
            await self._tell(session, actor, Event.STREAM_DELETED, row, details)
            await store.remove(session, row.id)
        self._deliveries.changed()

    async def test(self, actor: Actor, project_id: str | None, name: str) -> StreamTest:
        """Send a test line now, whatever waits, and say what became of it."""
        _require(actor, project_id)
        async with self._database.read() as session:
            row = await _find(session, project_id, name)
        now = self._sources.now()
        line = lines.of_test(f"test/{self._sources.randomness(8).hex()}", now, row.name)
        began = monotonic()
        ok, message = True, "The receiver took a test line."
        try:
            sender = await self._opener.open(row)
            try:
                await sender.send([line])
            finally:
                await sender.close()
        except NotSent as error:
            ok, message = False, str(error)
        async with self._database.write() as session:
            await self._tell(session, actor, Event.STREAM_TESTED, row, {"ok": ok})
        return StreamTest(ok=ok, message=message, duration_ms=round((monotonic() - began) * 1000))

    # --- parts ---

    def _new_secret(self, kind: StreamKind) -> str | None:
        if kind is not StreamKind.WEBHOOK:
            return None
        return formats.SECRET_PREFIX + base64.b64encode(self._sources.randomness(32)).decode()

    async def _seal(
        self, session: AsyncSession, project_id: str | None, stream_id: str, secret: str | None, headers: dict[str, str]
    ) -> bytes:
        plain = json.dumps({"secret": secret, "headers": headers}).encode()
        return await self._vault.seal(session, project_id, _TABLE, stream_id, "sealed", plain)

    async def _secrets(self, session: AsyncSession, row: StreamRow) -> dict[str, Any]:
        opened = await self._vault.open(session, row.project_id, _TABLE, row.id, "sealed", row.sealed)
        found: dict[str, Any] = json.loads(opened.reveal())
        return found

    async def _tell(
        self, session: AsyncSession, actor: Actor, event: Event, row: StreamRow, details: dict[str, Any]
    ) -> None:
        facts = {"name": row.name, **details}
        await self._audit_log.append(session, actor.cause, event, row.id, project_id=row.project_id, details=facts)

    async def _describe(self, session: AsyncSession, row: StreamRow) -> Stream:
        now = self._sources.now()
        events, first_event = await store.events_behind(session, row) if row.events else (0, None)
        sessions, first_line = await store.waits(session, row.id)
        since = min((at for at in (first_event, first_line) if at is not None), default=now)
        return Stream(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            kind=row.kind,
            url=row.url,
            commands=row.commands,
            events=row.events,
            bodies=row.bodies,
            ca_certificate=row.ca_certificate,
            header_names=row.header_names,
            created_at=row.created_at,
            status=StreamStatus(
                state=_state(row, bool(events or sessions)),
                sent=row.sent,
                sent_at=row.sent_at,
                lag_s=max(0.0, (now - since).total_seconds()),
                events_behind=events,
                sessions_behind=sessions,
                failures=row.failures,
                failing_since=row.failing_since,
                last_error=row.last_error,
                last_error_at=row.last_error_at,
                next_try_at=row.next_try_at,
            ),
        )


def _state(row: StreamRow, behind: bool) -> StreamState:
    if row.paused:
        return StreamState.PAUSED
    if row.failures:
        return StreamState.FAILING
    return StreamState.WAITING if behind else StreamState.CURRENT


def _require(actor: Actor, project_id: str | None) -> None:
    if project_id is None:
        actor.require(Permission.ORGANISATION_STREAM_UPDATE, Scope())
    else:
        actor.require(Permission.PROJECT_STREAM_UPDATE, Scope(project_id), what=f"project {project_id[:64]}")


async def _find(session: AsyncSession, project_id: str | None, name: str) -> StreamRow:
    row = await store.by_name(session, project_id or _ORGANISATION, name)
    if row is None:
        raise not_found(f"stream {name[:64]}")
    return row


def _headers(kind: StreamKind, given: dict[str, SecretStr]) -> dict[str, str]:
    if given and kind is StreamKind.SYSLOG:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "Syslog has no headers.")
    found = {name: value.get_secret_value() for name, value in given.items()}
    for name, value in found.items():
        target.check_header(name, value)
    return found


def _settings(row: StreamRow) -> dict[str, Any]:
    """What may stand in an event."""
    return {
        "kind": row.kind.value,
        "url": row.url.partition("?")[0],
        "commands": row.commands,
        "events": row.events,
        "bodies": row.bodies,
        "paused": bool(row.paused),
        "own_ca": row.ca_certificate is not None,
        "header_names": list(row.header_names),
    }
