"""One session: its facts, its activity, its connections, and every command, live.

The command log is fetched in pieces by a script (tools/web/log.js), which keeps only what is near the window; without
scripts the same pieces are pages with a link to the next.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from ....api.audit import ExportFormat, LogFilter, Timeline
from ....api.models import Record, Session
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission, Scope
from ...paging import Paging
from ...records.exporting import ENDINGS, MEDIA_TYPES
from ...records.forms import once
from ...records.paging import cursor_of, read_cursor
from ...records.routes import log_filter
from .. import extjson
from ..browser import viewer
from ..live import changes
from ..site import Site

_PIECE: Final = 100
_WAIT_S: Final = 20.0
_Reader = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_OWN_SESSION_READ, within=True))]
_Auditor = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_RECORD_READ, within=True))]
_Asked = Annotated[LogFilter, Depends(log_filter)]
_After = Annotated[str | None, Query(max_length=64)]


def build(site: Site) -> APIRouter:
    """The page and its parts."""
    router = APIRouter()
    _page(router, site)
    _log(router, site)
    _parts(router, site)
    return router


async def _shown(site: Site, actor: Actor, session_id: str) -> tuple[Session, dict[str, Any]]:
    """The session, and what every part of its page knows."""
    session = await site.services.access.get(actor, session_id)
    reads = actor.may_within(Permission.ACCOUNT_RECORD_READ, Scope(session.project_id))
    ends = actor.may_within(Permission.ACCOUNT_SESSION_TERMINATE, Scope(session.project_id))
    facts: dict[str, Any] = {
        "session": session,
        "project": await site.services.projects.get(session.project_id),
        "may_read": reads,
        "may_end": session.ended_at is None and (ends or session.user == actor.email),
    }
    return session, facts


def _page(router: APIRouter, site: Site) -> None:
    access = site.services.access

    @router.get("/sessions/{session_id}")
    async def session_page(
        request: Request, session_id: str, actor: _Reader, asked: _Asked, after: _After = None
    ) -> Response:
        """Facts, activity, and the first piece of the log."""
        _, facts = await _shown(site, actor, session_id)
        log: dict[str, Any] = {"lines": [], "next": None}
        connections: list[Any] = []
        if facts["may_read"]:
            log = await _piece(site, actor, session_id, asked, after)
            connections = (await site.services.records.connections(actor, session_id)).items
        return await site.page(
            request,
            "sessions/show.html",
            **facts,
            **log,
            asked=asked,
            values=_values(asked),
            after=after,
            connections=connections,
            formats=ExportFormat,
        )

    @router.get("/sessions/{session_id}/events")
    async def session_events(session_id: str, actor: _Reader) -> StreamingResponse:
        """Says when the session's facts have changed."""

        async def look() -> object:
            found = await access.get(actor, session_id)
            return (found.status, found.commands, found.errors, found.link, found.verification)

        return changes(look, site.services.stopping)

    @router.post("/sessions/{session_id}/terminate")
    async def terminate_session(request: Request, session_id: str, actor: _Reader) -> Response:
        """End it now."""
        await access.terminate(actor, session_id)
        return site.redirect(request, f"/sessions/{session_id}", flash="The session is being ended.")


def _log(router: APIRouter, site: Site) -> None:
    records = site.services.records

    @router.get("/sessions/{session_id}/log")
    async def session_log(
        request: Request, session_id: str, actor: _Auditor, asked: _Asked, after: _After = None, wait: bool = False
    ) -> Response:
        """The next piece of the log; with `wait`, as soon as there is one."""
        piece = await _piece(site, actor, session_id, asked, after, wait=wait)
        return await site.page(request, "sessions/log.html", session_id=session_id, **piece)

    @router.get("/sessions/{session_id}/log/{place}")
    async def session_line(request: Request, session_id: str, place: str, actor: _Auditor) -> Response:
        """One line, whole."""
        record = await _one(site, actor, session_id, place)
        body, cut = extjson.pretty(record.body)
        return await site.page(
            request,
            "sessions/line.html",
            record=record,
            body=body,
            cut=cut,
            place=place,
            session_id=session_id,
            script=once(record),
        )

    @router.get("/sessions/{session_id}/log/{place}/json")
    async def session_line_json(session_id: str, place: str, actor: _Auditor) -> Response:
        """One line as a file, however large."""
        record = await _one(site, actor, session_id, place)
        headers = {"content-disposition": f'attachment; filename="{session_id}-{place}.json"'}
        return Response(record.model_dump_json(exclude_none=True), media_type="application/json", headers=headers)

    @router.get("/sessions/{session_id}/timeline")
    async def session_timeline(session_id: str, actor: _Auditor) -> Timeline:
        """What the chart draws."""
        return await records.timeline(actor, session_id)


def _parts(router: APIRouter, site: Site) -> None:
    records = site.services.records

    @router.get("/sessions/{session_id}/verification")
    async def session_verification(request: Request, session_id: str, actor: _Reader) -> Response:
        """Check the whole chain, now."""
        found = await records.verify(actor, session_id)
        _, facts = await _shown(site, actor, session_id)
        return await site.page(request, "sessions/verification.html", found=found, **facts)

    @router.get("/sessions/{session_id}/export")
    async def session_export(
        session_id: str, actor: _Auditor, form: Annotated[ExportFormat, Query(alias="format")]
    ) -> StreamingResponse:
        """The session as a file."""
        pieces = await records.export(actor, session_id, form)
        headers = {"content-disposition": f'attachment; filename="{session_id}.{ENDINGS[form]}"'}
        return StreamingResponse(pieces, media_type=MEDIA_TYPES[form], headers=headers)


async def _piece(
    site: Site, actor: Actor, session_id: str, asked: LogFilter, after: str | None, *, wait: bool = False
) -> dict[str, Any]:
    """Some lines, and the cursor behind them; null where nothing more will ever come."""
    records, paging = site.services.records, Paging(after, _PIECE)
    page = await records.follow(actor, session_id, paging, _WAIT_S if wait else 0.0, asked)
    lines = [(record, cursor_of(record), extjson.preview(record.body)) for record in page.items]
    return {"lines": lines, "next": page.next, "full": len(lines) >= _PIECE}


async def _one(site: Site, actor: Actor, session_id: str, place: str) -> Record:
    epoch, seq = read_cursor(place) or (0, 0)
    before = f"{epoch}.{seq - 1}" if seq else f"{max(epoch - 1, 0)}.{10**17}"
    page = await site.services.records.read(actor, session_id, Paging(before, 1))
    if not page.items or (page.items[0].epoch, page.items[0].seq) != (epoch, seq):
        raise ProblemError(ProblemCode.NOT_FOUND, "There is no such line in this session's log.")
    return page.items[0]


def _values(asked: LogFilter) -> dict[str, Any]:
    return {name: value for name, value in asked.model_dump(mode="json").items() if value}
