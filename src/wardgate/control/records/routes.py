"""Records over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from ...api.audit import AuditKey, ClientConnection, ExportFormat, LogFilter, RecordHit, RecordQuery, Timeline
from ...api.machine import RecordsAck
from ...api.masking import MaskingPreview, MaskingPreviewRequest
from ...api.models import Page, Record, Verification
from ..fleet.guard import Caller, operates
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .exporting import ENDINGS, MEDIA_TYPES
from .service import RecordService
from .tail import LONGEST_WAIT


def log_filter(
    kind: Annotated[Literal["command", "denied", "connection", "session"] | None, Query()] = None,
    database: Annotated[str | None, Query(max_length=255)] = None,
    collection: Annotated[str | None, Query(max_length=255)] = None,
    command: Annotated[str | None, Query(max_length=128, description="The command's name.")] = None,
    effect: Annotated[Literal["read", "write", "admin", "code", "auth"] | None, Query()] = None,
    failed: Annotated[bool, Query(description="Only what the database refused, and what wardgate did.")] = False,
) -> LogFilter:
    """The FastAPI dependency that reads which lines are meant."""
    return LogFilter(kind=kind, database=database, collection=collection, command=command, effect=effect, failed=failed)


def build(records: RecordService) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["records"])

    @router.get("/sessions/{session_id}/records")
    async def read_records(
        session_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_RECORD_READ, within=True))],
        page: Annotated[Paging, Depends(paging)],
        asked: Annotated[LogFilter, Depends(log_filter)],
    ) -> Page[Record]:
        """What was done in a session, in order; an outcome stands in its command's line."""
        return await records.read(actor, session_id, page, asked)

    @router.get("/sessions/{session_id}/connections")
    async def list_connections(
        session_id: str, actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_RECORD_READ, within=True))]
    ) -> Page[ClientConnection]:
        """The client connections of a session: what connected, when, and why it ended. At most 500."""
        return await records.connections(actor, session_id)

    @router.get("/sessions/{session_id}/timeline")
    async def get_timeline(
        session_id: str, actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_RECORD_READ, within=True))]
    ) -> Timeline:
        """A session's activity over time."""
        return await records.timeline(actor, session_id)

    @router.get("/sessions/{session_id}/tail")
    async def follow_records(
        session_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_RECORD_READ, within=True))],
        page: Annotated[Paging, Depends(paging)],
        asked: Annotated[LogFilter, Depends(log_filter)],
        wait_s: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="How long to wait for something.")] = 0.0,
    ) -> Page[Record]:
        """What comes next in a session that goes on, waited for; `next` is null when it is over and all is here."""
        return await records.follow(actor, session_id, page, wait_s, asked)

    @router.post("/records/search")
    async def search_records(
        body: RecordQuery,
        # Which records are found depends on the roles; who may read none anywhere is refused.
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_RECORD_READ, within=True))],
        page: Annotated[Paging, Depends(paging)],
    ) -> Page[RecordHit]:
        """Lines of all sessions that you may read, newest first. A page can be short or empty and still have a next."""
        return await records.search(actor, body, page)

    @router.post("/projects/{project_id}/masking/preview")
    async def preview_masking(
        project_id: str,
        body: MaskingPreviewRequest,
        # Which records are looked at depends on the roles; who may read none there is refused.
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_RECORD_READ, within=True))],
        after: Annotated[str | None, Query(max_length=200, description="`next` of the look before.")] = None,
    ) -> MaskingPreview:
        """What a rule would have masked in past records: paths and counts, never values. A look is bounded."""
        return await records.preview_masking(actor, project_id, body, after)

    @router.get("/sessions/{session_id}/verification")
    async def verify_session(
        session_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_OWN_SESSION_READ, within=True))],
    ) -> Verification:
        """Check the chain of a session's records, all of it, now."""
        return await records.verify(actor, session_id)

    @router.get(
        "/sessions/{session_id}/export",
        response_class=StreamingResponse,
        responses={200: {"description": "The file.", "content": {"application/octet-stream": {}}}},
    )
    async def export_session(
        session_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_RECORD_READ, within=True))],
        form: Annotated[ExportFormat, Query(alias="format")] = ExportFormat.JSONL,
    ) -> StreamingResponse:
        """A session as a file: a bundle that can be verified offline, JSON lines, a script for mongosh, or a table."""
        pieces = await records.export(actor, session_id, form)
        headers = {"content-disposition": f'attachment; filename="{session_id}.{ENDINGS[form]}"'}
        return StreamingResponse(pieces, media_type=MEDIA_TYPES[form], headers=headers)

    @router.get("/audit-keys")
    async def list_audit_keys(
        actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))],
    ) -> Page[AuditKey]:
        """The public keys that the seals over records are checked with."""
        return records.keys()

    @router.post(
        "/gateway/records",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def ship_records(
        request: Request, caller: Annotated[Caller, Depends(operates(Permission.MACHINE_GATEWAY_OPERATE))]
    ) -> RecordsAck:
        """Deliver spool frames of one epoch, in order. Delivering again what is here already does no harm."""
        return await records.ingest(caller.id, await request.body(), caller.instance_id)

    return router
