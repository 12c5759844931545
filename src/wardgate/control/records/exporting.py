"""Sessions as files: a bundle for proof, JSON lines for programs, a script for mongosh, a table of facts.

Each is written while it is read, page by page and object by object, so a session of any length costs no more memory
than one page. Law: what was recorded is hostile; how each form makes it harmless stands with the form (`forms`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from ... import ids
from ...api.audit import ExportFormat
from ...api.models import Record
from ...net.certs import to_pem
from ...proof import bundle
from ...proof.breaks import Link
from ..access.places import RecordPlace, SessionDirectory
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor
from ..identity.permissions import Permission
from ..sources import Sources
from ..vault import AuditKeys
from . import forms
from .evidence import Evidence, gather
from .keyring import Keyring
from .paging import LogPages
from .stored import Batches

_PAGE: Final = 500

MEDIA_TYPES: Final = {
    ExportFormat.BUNDLE: "application/x-tar",
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.JSONL: "application/x-ndjson",
    ExportFormat.MONGOSH: "text/javascript; charset=utf-8",
}
ENDINGS: Final = {
    ExportFormat.BUNDLE: "tar",
    ExportFormat.CSV: "csv",
    ExportFormat.JSONL: "jsonl",
    ExportFormat.MONGOSH: "js",
}


class Exporter:
    """Exports."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        keys: AuditKeys,
        keyring: Keyring,
        directory: SessionDirectory,
        objects: Batches,
        pages: LogPages,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._keys = keys
        self._keyring = keyring
        self._directory = directory
        self._objects = objects
        self._pages = pages

    async def export(self, actor: Actor, session_id: str, form: ExportFormat) -> AsyncIterator[bytes]:
        """The file's pieces; ProblemError `not_found`, `forbidden` before the first. The audit log has it first."""
        async with self._database.read() as session:
            place = await self._directory.must_find(session, session_id)
        actor.require(Permission.ACCOUNT_RECORD_READ, place.scope, what=f"session {session_id}")
        async with self._database.write() as session:
            await self._audit_log.append(
                session,
                actor.cause,
                Event.RECORDS_EXPORTED,
                session_id,
                project_id=place.scope.project_id,
                details={"format": form.value},
            )
        match form:
            case ExportFormat.BUNDLE:
                return self._bundle(place, actor.email)
            case ExportFormat.CSV:
                return self._text(session_id, forms.CsvForm())
            case ExportFormat.JSONL:
                return self._text(session_id, forms.JsonLines())
            case ExportFormat.MONGOSH:
                return self._text(session_id, forms.Script(session_id, await self._committed(session_id)))

    # --- text ---

    async def _text(self, session_id: str, form: forms.Form) -> AsyncIterator[bytes]:
        yield form.begin().encode()
        async for items in self._log(session_id):
            yield await asyncio.to_thread(_written, form, items)
        yield form.end().encode()

    async def _log(self, session_id: str) -> AsyncIterator[list[Record]]:
        after, more = None, True
        while more:
            items, more = await self._pages.page(session_id, after, _PAGE)
            if items:
                after = items[-1].epoch, items[-1].seq
                yield items

    async def _committed(self, session_id: str) -> frozenset[str]:
        """The transactions of the session that were committed: what a script may replay of them."""
        found: set[str] = set()
        async for items in self._log(session_id):
            found.update(
                forms.transaction(item.body) for item in items if item.command == "commitTransaction" and item.ok == 1
            )
        return frozenset(found)

    # --- proof ---

    async def _bundle(self, place: RecordPlace, exported_by: str) -> AsyncIterator[bytes]:
        async with self._database.read() as session:
            evidence = await gather(session, place.session_id)
        facts = {
            "exported_at": self._sources.now().isoformat(),
            "exported_by": exported_by,
            "project": place.scope.project_id,
            "user": place.user_id,
        }
        manifest = await asyncio.to_thread(self._manifest, place, evidence)
        yield bundle.manifest_member(manifest, facts)
        for epoch, described in zip([row for row in evidence.epochs if row.seq >= 0], manifest.epochs, strict=True):
            for batch, name in zip(evidence.batches[epoch.epoch], described.objects, strict=True):
                try:
                    data = await asyncio.to_thread(self._objects.evidence, batch.name)
                except FileNotFoundError:
                    continue  # the bundle lacks it too, and its check says so
                yield bundle.member(name, data)
        yield bundle.end()

    def _manifest(self, place: RecordPlace, evidence: Evidence) -> bundle.Manifest:
        used = {seal.key_id for seal in evidence.seals}
        certificates = {
            key_id: to_pem(certificate).decode()
            for key_id, certificate in self._keys.head_certificates().items()
            if key_id in used
        }
        return bundle.Manifest(
            session_id=place.session_id,
            session=ids.to_bytes(place.session_id, ids.Kind.SESSION),
            ended=place.ended,
            epochs=[
                bundle.BundledEpoch(
                    row.epoch,
                    self._keyring.epoch_key(row.session_id, row.epoch, row.audit_key_id, row.sealed_key),
                    Link(row.epoch, row.seq, row.hash),
                    [f"frames/{row.epoch:08d}/{batch.first_seq:012d}" for batch in evidence.batches[row.epoch]],
                )
                for row in evidence.epochs
                if row.seq >= 0
            ],
            seals=[bundle.BundledSeal(seal.statement, seal.key_id, seal.signature) for seal in evidence.seals],
            certificates=certificates,
        )


def _written(form: forms.Form, items: Iterable[Record]) -> bytes:
    return "".join([form.line(item) for item in items]).encode()
