"""Search across a project's sessions: who touched this collection, this document, this word."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError

from .... import durations
from ....api.audit import RecordHit, RecordQuery
from ....api.models import Page
from ....api.problems import ProblemCode, ProblemError
from ....errors import WardgateError
from ...identity import Actor, Permission
from ...paging import Paging
from ...records.paging import cursor_of
from .. import extjson
from ..browser import viewer
from ..failures import field_errors
from ..forms import Filled, Form
from ..site import Site

_PAGE: Final = 50
_FIELDS: Final = (
    "text", "id", "since", "user", "resource", "account", "session_id", "database", "collection", "command", "effect",
    "failed", "min_duration_ms", "min_documents",
)  # fmt: skip
_SPANS: Final = (
    ("1h", "Last hour"),
    ("1d", "Last day"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("", "Any time"),
)


def build(site: Site) -> APIRouter:
    """The page."""
    router = APIRouter()

    @router.get("/projects/{project_id}/search")
    async def search_page(
        request: Request,
        project_id: str,
        actor: Annotated[Actor, Depends(viewer(Permission.ACCOUNT_RECORD_READ, within=True))],
        after: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Response:
        """The form, and what it finds; a search has a URL, so it can be kept and passed on."""
        values = {name: value for name in _FIELDS if (value := request.query_params.get(name, "").strip())}
        filled, page = Filled(values or {"since": "1d"}), None
        try:
            if values:
                asked = _asked(site, project_id, values)
                page = await site.services.records.search(actor, asked, Paging(after, _PAGE))
        except ProblemError as refused:
            filled = Filled.again(Form(values), refused, _FIELDS)
        return await site.page(
            request,
            "search/search.html",
            form=filled,
            hits=[] if page is None else _shown(page),
            page=page,
            values=values,
            after=after,
            spans=_SPANS,
            status=200 if filled.problem is None else filled.problem.status,
        )

    return router


def _asked(site: Site, project_id: str, values: dict[str, str]) -> RecordQuery:
    fields: dict[str, Any] = {**values, "project_id": project_id, "bodies": True}
    if "since" in values:
        try:
            fields["since"] = site.services.sources.now() - durations.parse(values["since"])
        except WardgateError as error:
            raise ProblemError(ProblemCode.INVALID_REQUEST, error.message) from error
    try:
        return RecordQuery.model_validate(fields)
    except ValidationError as error:
        errors = field_errors([{**each} for each in error.errors(include_input=False, include_url=False)])
        raise ProblemError(ProblemCode.INVALID_REQUEST, "Some fields need your attention.", errors=errors) from None


def _shown(page: Page[RecordHit]) -> list[tuple[RecordHit, str, str]]:
    return [(hit, cursor_of(hit.record), extjson.preview(hit.record.body, 320)) for hit in page.items]
