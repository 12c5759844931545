"""What a masking rule would have masked: tried out on past records before it is made.

A look takes a bounded number of commands, newest first, of those that the reader may read, and answers with paths and
counts; the values stay where they are. It runs the very code that a gateway runs.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ...api.audit import RecordQuery
from ...api.masking import MaskedPath, MaskingPreview, MaskingPreviewRequest
from ...audit.records import CommandIntent, Denied
from ...command.facts import Command, parse
from ...command.masking import Masking
from ...rawbson import build, walk
from ...wire.errors import RemoteProtocolError
from ...wire.header import HEADER, Opcode
from ...wire.message import parse_request
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor
from ..projects.masking import compiled, rule_of
from . import query, reading
from .model import RecordRow
from .search import Search

_LOOKED_AT: Final = 1_000  # commands for each look
_STEP: Final = 100
_BYTES: Final = 32 * 1024 * 1024  # of bodies for each look
_PATHS: Final = 100  # shown
_WITHHELD: Final = ("*",)

_Place = tuple[str, str | None, str, str]


class Previewer:
    """Looks."""

    def __init__(self, database: Database, audit_log: AuditLog, search: Search) -> None:
        self._database = database
        self._audit_log = audit_log
        self._search = search

    async def preview(
        self, actor: Actor, project_id: str, asked: MaskingPreviewRequest, after_text: str | None
    ) -> MaskingPreview:
        """One look; ProblemError `not_found`, `forbidden`, `invalid_request`."""
        masking = compiled([rule_of(asked.path, asked.pattern)])
        after = query.read_cursor(after_text)
        wanted = RecordQuery(project_id=project_id, since=asked.since, until=asked.until, session_id=asked.session_id)
        _, ranges = await self._search.readable(actor, wanted)
        if after is None:
            await self._note(actor, project_id, asked)
        tally = _Tally(masking)
        rows: list[RecordRow] = []
        more = True
        while more and tally.looked_at < _LOOKED_AT and tally.bytes < _BYTES:
            async with self._database.read() as session:
                rows = await query.rows(session, wanted, ranges, after, _STEP)
                bodies = await self._search.bodies(session, rows)
            more = len(rows) == _STEP
            if rows:
                await asyncio.to_thread(tally.look, rows, bodies)
                after = query.cursor_of(rows[-1])
        return tally.result(str(after) if more else None)

    async def _note(self, actor: Actor, project_id: str, asked: MaskingPreviewRequest) -> None:
        # A pattern that is only tried may be the very text that is looked for.
        details = asked.model_dump(mode="json", exclude_none=True, exclude={"pattern"})
        if asked.pattern is not None:
            details["pattern"] = True
        async with self._database.write() as session:
            await self._audit_log.append(
                session,
                actor.cause,
                Event.RECORDS_PREVIEWED,
                asked.session_id,
                project_id=project_id,
                details=details,
            )


class _Tally:
    """What was found so far."""

    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        self._paths: Counter[_Place] = Counter()
        self._oldest: RecordRow | None = None
        self.looked_at = self.bytes = 0
        self._commands = self._masked = self._withheld = self._unreadable = 0

    def look(self, rows: Sequence[RecordRow], bodies: Mapping[tuple[str, int], reading.Bodies]) -> None:
        """At these lines; in a thread."""
        for row in rows:
            self.looked_at += 1
            if row.kind not in ("command", "denied"):
                continue
            self._commands += 1
            self._oldest = row
            reader = bodies.get((row.session_id, row.epoch))
            command = None if reader is None else self._command(reader, row.seq)
            if command is None:
                self._unreadable += 1
            else:
                self._count(row, self._masking.would_mask(command))

    def _command(self, reader: reading.Bodies, seq: int) -> Command | None:
        try:
            record = reader.record(seq)
        except (FileNotFoundError, *reading.UNREADABLE):
            return None
        self.bytes += reading.size_of(record)
        return None if record.masked == _WITHHELD else _command_of(record)

    def _count(self, row: RecordRow, masked: tuple[str, ...]) -> None:
        self._masked += bool(masked)
        self._withheld += masked == _WITHHELD
        for path in masked:
            self._paths[row.database or "", row.collection, row.command or "", path] += 1

    def result(self, after: str | None) -> MaskingPreview:
        """What is answered."""
        paths = sorted(self._paths.items(), key=lambda each: (-each[1], str(each[0])))[:_PATHS]
        return MaskingPreview(
            commands=self._commands,
            masked=self._masked,
            withheld=self._withheld,
            unreadable=self._unreadable,
            paths=[
                MaskedPath(database=database, collection=collection, command=command, path=path, commands=count)
                for (database, collection, command, path), count in paths
            ],
            oldest=None if self._oldest is None else self._oldest.at,
            next=after,
        )


def _command_of(record: CommandIntent | Denied) -> Command | None:
    """The command as it was sent; None for a body that is none (what was masked in it stays so)."""
    body = record.body
    raw = b""
    for identifier, documents in record.sequences:
        name = identifier.encode()
        if walk.find(body, name) is not None:  # it came as an array, in parts: the body has it empty
            body = _filled(body, name, documents)
        else:
            data = name + b"\0" + documents
            raw += b"\1" + struct.pack("<i", len(data) + 4) + data
    raw = bytes(4) + b"\0" + body + raw
    try:
        return parse(parse_request(HEADER.pack(HEADER.size + len(raw), 1, 0, Opcode.MSG) + raw))
    except RemoteProtocolError:
        return None


def _filled(body: bytes, array: bytes, documents: bytes) -> bytes:
    """The body with these documents in the array of that name."""
    parts = []
    for kind, name, start, stop in walk.elements(body):
        value = _array(documents) if name == array else body[start:stop]
        parts.append(build.element(kind, name, value))
    return build.document(parts)


def _array(documents: bytes) -> bytes:
    parts: list[bytes] = []
    pos = 0
    while pos < len(documents):
        stop = walk.document_end(documents, pos, len(documents))
        parts.append(build.element(walk.DOCUMENT, b"%d" % len(parts), documents[pos:stop]))
        pos = stop
    return build.document(parts)
