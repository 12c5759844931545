"""Search: every line of every session that the reader may read, newest first.

Facts are asked of the database. What stands in bodies (a text, an `_id`) is looked for in the decrypted objects of the
lines that the facts leave, a bounded number of them for each request: a page may therefore hold few lines or none and
still have a `next`.

Law: a reader sees the records of accounts that one of their roles covers, and nothing of any other: the places that
they may read are worked out first, and no query goes beyond them. That somebody searched is an event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.audit import RecordHit, RecordQuery
from ...api.models import Page
from ...api.problems import ProblemCode, ProblemError
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, refusal
from ..identity.permissions import Permission
from ..paging import Paging
from . import places, query, reading
from .model import RecordPlaceRow, RecordRow
from .paging import COMMANDS, LogPages
from .query import Range

_FEW: Final = 32  # places that are asked one by one; more are asked together, by their project
_LOOKED_AT: Final = 2_000  # bodies for each request
_STEP: Final = 200
_RIGHT: Final = Permission.ACCOUNT_RECORD_READ


class Search:
    """Searches."""

    def __init__(self, database: Database, audit_log: AuditLog, pages: LogPages) -> None:
        self._database = database
        self._audit_log = audit_log
        self._pages = pages

    async def search(self, actor: Actor, asked: RecordQuery, paging: Paging) -> Page[RecordHit]:
        """A page of what was asked for; ProblemError `not_found`, `forbidden`, `invalid_request`."""
        after = query.read_cursor(paging.after)
        if asked.collection is not None and asked.database is None:
            raise ProblemError(ProblemCode.INVALID_REQUEST, "A collection is looked for in a database: name that too.")
        wanted = _wanted_id(asked.id)
        readable, ranges = await self.readable(actor, asked)
        if after is None:
            await self._note(actor, asked)
        if asked.text is None and asked.id is None:
            return await self._by_facts(asked, readable, ranges, after, paging.limit)
        return await self._in_bodies(asked, wanted, readable, ranges, after, paging.limit)

    async def readable(self, actor: Actor, asked: RecordQuery) -> tuple[dict[int, RecordPlaceRow], list[Range]]:
        """The places that the actor may read and asks for; ProblemError `not_found`, `forbidden`."""
        if not actor.may_within(_RIGHT, Scope(asked.project_id)):
            seen = asked.project_id is None or actor.sees(Scope(asked.project_id))
            raise refusal(_RIGHT, visible=seen, what=f"project {asked.project_id}")
        async with self._database.read() as session:
            known = await places.all_of(session, asked.project_id)
        readable = {
            row.id: row
            for row in known
            if actor.may(_RIGHT, Scope(row.project_id, row.resource_id, row.account_id)) and _is_asked_for(row, asked)
        }
        return readable, _ranges(known, readable)

    async def _note(self, actor: Actor, asked: RecordQuery) -> None:
        # What was looked for in bodies may itself be what must not stand in a log.
        details = asked.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"text", "id"})
        details |= {name: True for name in ("text", "id") if getattr(asked, name) is not None}
        async with self._database.write() as session:
            await self._audit_log.append(
                session,
                actor.cause,
                Event.RECORDS_SEARCHED,
                asked.session_id,
                project_id=asked.project_id,
                details=details,
            )

    async def _by_facts(
        self,
        asked: RecordQuery,
        readable: Mapping[int, RecordPlaceRow],
        ranges: Sequence[Range],
        after: query.Cursor | None,
        limit: int,
    ) -> Page[RecordHit]:
        async with self._database.read() as session:
            rows = await query.rows(session, asked, ranges, after, limit + 1)
            shown = rows[:limit]
            bodies = await self.bodies(session, shown) if asked.bodies else {}
        hits, _ = await asyncio.to_thread(_hits, shown, readable, bodies, None)
        # Bodies fill a page before its limit: what was not shown comes with the next one.
        more = len(rows) > limit or len(hits) < len(shown)
        return Page[RecordHit](items=hits, next=str(query.cursor_of(shown[len(hits) - 1])) if more else None)

    async def _in_bodies(
        self,
        asked: RecordQuery,
        wanted: Any,
        readable: Mapping[int, RecordPlaceRow],
        ranges: Sequence[Range],
        after: query.Cursor | None,
        limit: int,
    ) -> Page[RecordHit]:
        test = _Test(asked.text, wanted, asked.id is not None)
        hits: list[RecordHit] = []
        looked = 0
        while looked < _LOOKED_AT and len(hits) < limit:
            async with self._database.read() as session:
                rows = await query.rows(session, asked, ranges, after, _STEP)
                bodies = await self.bodies(session, rows)
            if not rows:
                return Page[RecordHit](items=hits)
            found, passed = await asyncio.to_thread(_hits, rows, readable, bodies, test, limit - len(hits))
            hits += found
            looked += passed
            after = query.cursor_of(rows[passed - 1])
        return Page[RecordHit](items=hits, next=str(after))

    async def bodies(self, session: AsyncSession, rows: Sequence[RecordRow]) -> dict[tuple[str, int], reading.Bodies]:
        """What reads the bodies of these rows, by session and epoch."""
        found = {}
        ordered = sorted((row for row in rows if row.kind in COMMANDS), key=lambda row: row.session_id)
        for session_id, mine in groupby(ordered, key=lambda row: row.session_id):
            for epoch, bodies in (await self._pages.bodies(session, session_id, list(mine))).items():
                found[session_id, epoch] = bodies
        return found


def _is_asked_for(row: RecordPlaceRow, asked: RecordQuery) -> bool:
    """Whether a place is the person's, the resource's and the account's; each is known by its name or its id."""
    return (
        asked.user in (None, row.user, row.user_id)
        and asked.resource in (None, row.resource, row.resource_id)
        and asked.account in (None, row.account, row.account_id)
    )


def _ranges(known: Sequence[RecordPlaceRow], readable: Mapping[int, RecordPlaceRow]) -> list[Range]:
    """The fewest ranges that hold the readable places and no others."""
    ranges = []
    for project, members in groupby(sorted(known, key=lambda row: row.project), key=lambda row: row.project):
        all_ = [row.id for row in members]
        mine = [number for number in all_ if number in readable]
        if len(mine) == len(all_):
            ranges.append(Range(project=project, upto=max(all_)))
        elif len(mine) > _FEW:
            ranges.append(Range(project=project, among=tuple(mine)))
        else:
            ranges += [Range(place=number) for number in mine]
    return ranges


# --- bodies ---------------------------------------------------------------------------------------------------------


class _Test:
    """Whether a body holds what is looked for."""

    def __init__(self, text: str | None, wanted: Any, by_id: bool) -> None:
        self._text = None if text is None else text.casefold()
        self._wanted = wanted
        self._by_id = by_id

    def __call__(self, body: Mapping[str, Any]) -> bool:
        """Text is looked for in the body as it is shown; an `_id` in whatever stands under that name."""
        if self._text is not None and self._text not in json.dumps(body, ensure_ascii=False).casefold():
            return False
        return not self._by_id or _names_id(body, self._wanted)


def _hits(
    rows: Sequence[RecordRow],
    readable: Mapping[int, RecordPlaceRow],
    bodies: Mapping[tuple[str, int], reading.Bodies],
    test: _Test | None,
    most: int | None = None,
) -> tuple[list[RecordHit], int]:
    """The lines that pass the test, and how many were looked at: fewer than all where bodies are large."""
    hits: list[RecordHit] = []
    size = passed = 0
    for row in rows:
        if size >= reading.PAGE_BODY_BYTES or (most is not None and len(hits) >= most):
            break
        passed += 1
        body = None
        reader = bodies.get((row.session_id, row.epoch))
        if row.kind in COMMANDS and reader is not None:
            body, length = reader.body(row.seq)
            size += length
        if test is not None and (body is None or not test(body)):
            continue
        place = readable[row.place]
        hits.append(
            RecordHit(
                session_id=row.session_id,
                project_id=place.project_id,
                resource=place.resource,
                account=place.account,
                user=place.user,
                record=reading.describe(row, body),
            )
        )
    return hits, passed


def _wanted_id(text: str | None) -> Any:
    """The `_id` that is meant: Extended JSON, or a word that is none and means itself."""
    if text is None:
        return None
    try:
        return _plain(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _names_id(node: Any, wanted: Any, under: bool = False) -> bool:
    """Whether `wanted` stands somewhere under an `_id`: itself, in an operator, or in a list of one."""
    if under and _plain(node) == wanted:
        return True
    if isinstance(node, dict):
        return any(_names_id(value, wanted, under or name == "_id") for name, value in node.items())
    if isinstance(node, list):
        return any(_names_id(value, wanted, under) for value in node)
    return False


_NUMBERS: Final = {"$numberInt": int, "$numberLong": int, "$numberDouble": float}


def _plain(value: Any) -> Any:
    """Numbers of every type as one, since MongoDB compares them so."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        read = _NUMBERS.get(name)
        if read is not None and isinstance(inner, str):
            try:
                return read(inner)
            except ValueError:
                return value
    return value
