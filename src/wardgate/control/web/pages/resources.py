"""Resources: the home of a project. Found, added, looked at, tested, changed, deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ....api.models import Resource, ResourceCreate, ResourceDraft, ResourceUpdate, TestResult
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission
from ...identity.actor import Scope
from ...paging import Paging
from ...resources.service import Listing
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_PAGE = 50
_FIELDS = ("name", "gateway", "connection_string", "database", "ssl", "reject_unauthorized", "ca_certificate")
_BLAME = {ProblemCode.CONFLICT: "name", ProblemCode.INVALID_CONNECTION_STRING: "connection_string"}
# What can be saved all the same, where the person says so.
_UNTESTED = frozenset({ProblemCode.CONNECTION_TEST_FAILED, ProblemCode.GATEWAY_OFFLINE})

_Reader = Annotated[Actor, Depends(viewer(Permission.RESOURCE_DETAILS_READ, within=True))]
_Adder = Annotated[Actor, Depends(viewer(Permission.PROJECT_RESOURCE_CREATE))]
_Editor = Annotated[Actor, Depends(viewer(Permission.RESOURCE_DETAILS_UPDATE, within=True))]


def build(site: Site) -> APIRouter:
    """The pages below `/projects/{project_id}/resources`, and the form of a new one."""
    router = APIRouter()
    _listing(router, site)
    _adding(router, site)
    _drafts(router, site)
    _one(router, site)
    _editing(router, site)
    return router


def _listing(router: APIRouter, site: Site) -> None:
    @router.get("/projects/{project_id}/resources")
    async def resources_page(
        request: Request, project_id: str, actor: _Reader, q: str = "", after: str | None = None
    ) -> Response:
        """The resources that one sees, by name."""
        listing = Listing(q.strip()[:200], by_name=True)
        page = await site.services.resources.list_visible(actor, project_id, Paging(after, _PAGE), listing)
        health = await gateway_health(site, actor, project_id)
        return await site.page(
            request, "resources/list.html", page=page, q=q.strip(), after=after, health=health, gateways=len(health)
        )


async def gateway_health(site: Site, actor: Actor, project_id: str) -> dict[str, str]:
    """Status by gateway, for who may see gateways."""
    if not actor.may(Permission.PROJECT_GATEWAY_READ, Scope(project_id)):
        return {}
    page = await site.services.fleet.list_gateways(project_id, Paging(limit=1000))
    return {each.name: each.status for each in page.items if each.status != "revoked"}


def _adding(router: APIRouter, site: Site) -> None:
    @router.get("/projects/{project_id}/add-resource")
    async def add_resource_page(request: Request, project_id: str, actor: _Adder) -> Response:
        """The form of a new resource."""
        health = await gateway_health(site, actor, project_id)
        online = next((name for name, status in health.items() if status == "online"), "")
        values = {"database": "admin", "ssl": True, "reject_unauthorized": True, "gateway": online}
        return await _form(site, request, project_id, actor, Filled(values))

    @router.post("/projects/{project_id}/add-resource")
    async def add_resource(request: Request, project_id: str, actor: _Adder) -> Response:
        """Save it, if its connection test passes."""
        form = await Form.of(request)
        try:
            body = form.read(ResourceCreate)
            made = await site.services.resources.create(actor, project_id, body, no_test=form.flag("no_test"))
        except ProblemError as refused:
            return await _refused(site, request, project_id, actor, form, refused)
        return site.redirect(request, _url(project_id, made.name), flash=_saved(made), tone=_tone(made))


def _drafts(router: APIRouter, site: Site) -> None:
    @router.post("/projects/{project_id}/resource-check")
    async def check_resource_form(request: Request, project_id: str, actor: _Adder) -> Response:
        """What can be said of the form while one types."""
        form = await Form.of(request)
        try:
            body = form.read(ResourceDraft, gateway=form.text("gateway") or "none")
        except ProblemError:
            return await site.page(request, "resources/check.html", check=None)
        return await site.page(request, "resources/check.html", check=site.services.resources.drafts.check(body))

    @router.post("/projects/{project_id}/resource-test")
    async def try_resource_form(request: Request, project_id: str, actor: _Adder) -> Response:
        """Every hop of the form as it stands, without saving it."""
        form, result, problem = await Form.of(request), None, None
        try:
            result = await site.services.resources.drafts.attempt(actor, project_id, form.read(ResourceDraft))
        except ProblemError as refused:
            problem = refused.problem
        return await site.page(request, "resources/test.html", result=result, problem=problem)


def _one(router: APIRouter, site: Site) -> None:
    @router.get("/projects/{project_id}/resources/{resource}")
    async def resource_page(request: Request, project_id: str, resource: str, actor: _Reader) -> Response:
        """One resource and its accounts."""
        found = await site.services.resources.get(actor, project_id, resource)
        accounts = await site.services.accounts.list_visible(actor, project_id, resource, Paging(limit=200))
        health = await gateway_health(site, actor, project_id)
        place = Scope(project_id, found.id)
        return await site.page(
            request, "resources/show.html", resource=found, accounts=accounts.items, health=health, place=place
        )

    @router.post("/projects/{project_id}/resources/{resource}/test")
    async def test_resource_now(
        request: Request,
        project_id: str,
        resource: str,
        actor: Annotated[Actor, Depends(viewer(Permission.RESOURCE_DETAILS_TEST, within=True))],
    ) -> Response:
        """Try it as it is saved, and show what came out."""
        try:
            result = await site.services.resources.test(actor, project_id, resource)
        except ProblemError as refused:
            return site.redirect(request, _url(project_id, resource), flash=refused.problem.detail, tone="bad")
        words = "Every hop to it works." if result.ok else "The connection test failed: see which hop below."
        return site.redirect(request, _url(project_id, resource), flash=words, tone="ok" if result.ok else "bad")

    @router.post("/projects/{project_id}/resources/{resource}/delete")
    async def delete_resource_now(
        request: Request,
        project_id: str,
        resource: str,
        actor: Annotated[Actor, Depends(viewer(Permission.RESOURCE_DETAILS_DELETE, within=True))],
    ) -> Response:
        """Remove it and its accounts, if its name was typed."""
        if (await Form.of(request)).text("name") != resource:
            words = "Nothing was deleted: what was typed is not the resource’s name."
            return site.redirect(request, _url(project_id, resource), flash=words, tone="warn")
        await site.services.resources.delete(actor, project_id, resource)
        return site.redirect(request, f"/projects/{project_id}/resources", flash=f"The resource {resource} is deleted.")


def _editing(router: APIRouter, site: Site) -> None:
    @router.get("/projects/{project_id}/resources/{resource}/edit")
    async def edit_resource_page(request: Request, project_id: str, resource: str, actor: _Editor) -> Response:
        """The form of a resource as it is."""
        found = await site.services.resources.get(actor, project_id, resource)
        return await _form(site, request, project_id, actor, Filled(_values(found)), found)

    @router.post("/projects/{project_id}/resources/{resource}/edit")
    async def edit_resource(request: Request, project_id: str, resource: str, actor: _Editor) -> Response:
        """Save the changes, if the connection test still passes and nobody else has changed it meanwhile."""
        form = await Form.of(request)
        found = await site.services.resources.get(actor, project_id, resource)
        try:
            body = form.read(ResourceUpdate, ca_certificate=form.text("ca_certificate") or None)
            made = await site.services.resources.update(actor, project_id, resource, body, no_test=form.flag("no_test"))
        except ProblemError as refused:
            return await _refused(site, request, project_id, actor, form, refused, found)
        return site.redirect(request, _url(project_id, resource), flash=_saved(made), tone=_tone(made))


def _values(found: Resource) -> dict[str, Any]:
    shown = found.model_dump(include=set(_FIELDS))
    return {**shown, "if_updated_at": found.updated_at.isoformat()}


async def _form(
    site: Site,
    request: Request,
    project_id: str,
    actor: Actor,
    form: Filled,
    found: Resource | None = None,
    *,
    status: int = 200,
    **more: Any,
) -> Response:
    health = await gateway_health(site, actor, project_id)
    if found is not None:
        health.setdefault(found.gateway, "")
    facts: dict[str, Any] = {"test": None, "may_skip_test": False, "theirs": []}
    return await site.page(
        request,
        "resources/form.html",
        status=status,
        form=form,
        resource=found,
        gateways=[(name, f"{name} ({state})" if state else name) for name, state in health.items()],
        **{**facts, **more},
    )


async def _refused(
    site: Site,
    request: Request,
    project_id: str,
    actor: Actor,
    form: Form,
    refused: ProblemError,
    found: Resource | None = None,
) -> Response:
    """The form once more, with what was typed and what was wrong."""
    problem = refused.problem
    shown = (*_FIELDS, "if_updated_at") if found is not None else _FIELDS
    filled = Filled.again(form, refused, shown, _BLAME if found is None else None)
    test = None
    if problem.code is ProblemCode.CONNECTION_TEST_FAILED:
        test = TestResult.model_validate(problem.context)
    theirs: list[tuple[str, Any]] = []
    if found is not None and problem.code is ProblemCode.CONFLICT:
        # Somebody else was quicker: show what is theirs, keep what was typed, and let the next save be a knowing one.
        present = _values(found)
        typed = form.read(ResourceUpdate, only=_FIELDS).model_dump()
        theirs = [(name, present[name]) for name in _FIELDS[1:] if (present[name] or "") != (typed.get(name) or "")]
        filled = Filled({**filled.values, "if_updated_at": present["if_updated_at"]}, {}, problem)
    return await _form(
        site,
        request,
        project_id,
        actor,
        filled,
        found,
        status=problem.status,
        test=test,
        may_skip_test=problem.code in _UNTESTED,
        theirs=theirs,
    )


def _url(project_id: str, resource: str) -> str:
    return f"/projects/{project_id}/resources/{resource}"


def _saved(made: Resource) -> str:
    return " ".join([f"The resource {made.name} is saved.", *made.warnings])


def _tone(made: Resource) -> str:
    return "warn" if made.warnings else "ok"
