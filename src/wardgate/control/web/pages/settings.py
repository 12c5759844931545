"""A project's settings: how its records are made and kept, what is masked in them, and where they are sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ....api.audit import RecordSettingsUpdate
from ....api.masking import MaskingPreview, MaskingPreviewRequest, MaskingRuleCreate
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission, Scope
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_Reader = Annotated[Actor, Depends(viewer(Permission.PROJECT_RECORDS_READ))]
_Masker = Annotated[Actor, Depends(viewer(Permission.PROJECT_MASKING_UPDATE))]
_RULE = ("name", "path", "pattern", "description")


def build(site: Site) -> APIRouter:
    """The page, and its forms."""
    router = APIRouter()
    _records(router, site)
    _masking(router, site)
    return router


async def _show(
    site: Site,
    request: Request,
    actor: Actor,
    project_id: str,
    *,
    records: Filled | None = None,
    rule: Filled | None = None,
    preview: MaskingPreview | None = None,
) -> Response:
    services, place = site.services, Scope(project_id)
    kept = await services.keeping.get(project_id)
    values: dict[str, Any] = {
        "durability": kept.durability,
        "retention_days": kept.retention_days,
        "legal_hold": kept.legal_hold,
    }
    streams = []
    if actor.may(Permission.PROJECT_STREAM_READ, place):
        streams = (await services.streams.list_(project_id, Paging(limit=100))).items
    problem = (records or rule or Filled()).problem
    return await site.page(
        request,
        "settings/project.html",
        status=200 if problem is None else problem.status,
        records=records or Filled(values),
        rule=rule or Filled(),
        rules=(await services.masking.list_all(project_id)).items,
        streams=streams,
        preview=preview,
    )


def _records(router: APIRouter, site: Site) -> None:
    @router.get("/projects/{project_id}/settings")
    async def settings_page(request: Request, project_id: str, actor: _Reader) -> Response:
        """All of them."""
        return await _show(site, request, actor, project_id)

    @router.post("/projects/{project_id}/settings/records")
    async def update_records(
        request: Request, project_id: str, actor: Annotated[Actor, Depends(viewer(Permission.PROJECT_RECORDS_UPDATE))]
    ) -> Response:
        """How records are made, and how long they are kept."""
        form = await Form.of(request)
        try:
            days = form.text("retention_days")
            body = form.read(RecordSettingsUpdate, retention_days=days or None)
            await site.services.keeping.update(actor, project_id, body)
        except ProblemError as refused:
            shown = ("durability", "retention_days", "legal_hold")
            return await _show(site, request, actor, project_id, records=Filled.again(form, refused, shown))
        return site.redirect(request, f"/projects/{project_id}/settings", flash="The settings of records are kept.")


def _masking(router: APIRouter, site: Site) -> None:
    @router.post("/projects/{project_id}/settings/masking")
    async def add_rule(request: Request, project_id: str, actor: _Masker) -> Response:
        """Add a rule, or try it out on the records of before."""
        form = await Form.of(request)
        try:
            if form.flag("try"):
                wanted = form.read(MaskingPreviewRequest)
                found = await site.services.records.preview_masking(actor, project_id, wanted, None)
                filled = Filled({name: form.text(name) for name in _RULE})
                return await _show(site, request, actor, project_id, rule=filled, preview=found)
            made = await site.services.masking.add(actor, project_id, form.read(MaskingRuleCreate))
        except ProblemError as refused:
            blame = {ProblemCode.CONFLICT: "name"}
            return await _show(site, request, actor, project_id, rule=Filled.again(form, refused, _RULE, blame))
        flash = f"The rule {made.name} holds for what is recorded from now on."
        return site.redirect(request, f"/projects/{project_id}/settings", flash=flash)

    @router.post("/projects/{project_id}/settings/masking/{name}/remove")
    async def remove_rule(request: Request, project_id: str, name: str, actor: _Masker) -> Response:
        """Take a rule away; what it has masked stays masked."""
        await site.services.masking.remove(actor, project_id, name)
        return site.redirect(request, f"/projects/{project_id}/settings", flash=f"The rule {name} is removed.")
