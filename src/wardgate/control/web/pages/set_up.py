"""The first run: the first administrator and their first project, then the way to the first session, step by step."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ....api.models import Name
from ....api.models import Request as ApiRequest
from ....api.problems import FieldError, ProblemCode, ProblemError
from ....secret import Secret
from ...first_run import FirstAdministrator
from ...identity import Actor, Permission
from ...identity.actor import not_found
from ...identity.guard import cause_of
from ...identity.model import TokenKind
from ...paging import Paging
from .. import browser
from ..browser import viewer
from ..forms import Filled, Form
from ..live import changes
from ..site import Site
from .sign_in import name_of

_SHOWN = ("code", "organisation", "email", "project")
_SHORTEST = 12
_Reader = Annotated[Actor, Depends(viewer(Permission.PROJECT_RESOURCE_CREATE))]


class _Project(ApiRequest):
    """The one field of the form that is a name of the API."""

    project: Name


def build(site: Site) -> APIRouter:
    """`/set-up`, and a project's first steps."""
    router = APIRouter()
    _first_administrator(router, site)
    _first_steps(router, site)
    return router


def _first_administrator(router: APIRouter, site: Site) -> None:
    @router.get("/set-up")
    async def set_up_page(request: Request) -> Response:
        """Ask for the code and for the first administrator; nothing is here once there is one."""
        await _must_be_open(site)
        form = Filled({"code": request.query_params.get("code", "")[:64], "project": "production"})
        return await site.page(request, "set_up.html", form=form)

    @router.post("/set-up")
    async def set_up(request: Request) -> Response:
        """Make them, sign them in, and go on to the first steps."""
        browser.check_origin(request)
        form, cause = await Form.of(request), cause_of(request)
        password = Secret(form.raw("password"))
        try:
            project = form.read(_Project).project
            _check_password(form)
            wish = FirstAdministrator(form.text("code"), form.text("organisation")[:100], form.text("email"), password)
            await site.services.first_run.complete(wish, cause)
        except ProblemError as refused:
            filled = Filled.again(form, refused, _SHOWN, {ProblemCode.INVALID_REQUEST: "email"})
            return await site.page(request, "set_up.html", form=filled, status=refused.problem.status)
        token = await site.services.identity.login_browser(form.text("email"), password, cause, name=name_of(request))
        revealed = token.token.reveal_text()
        actor = await site.services.sign_ins.authenticate(revealed, cause, TokenKind.BROWSER)
        made = await site.services.projects.create(actor, project)
        done = site.redirect(request, f"/projects/{made.id}/start")
        browser.set_cookie(request, done, revealed)
        return done


async def _must_be_open(site: Site) -> None:
    if not await site.services.first_run.is_open():
        raise not_found("first run to do: this wardgate is set up already")


def _check_password(form: Form) -> None:
    """What a page can say of the password before the services judge it."""
    if len(form.raw("password")) < _SHORTEST:
        message = f"Take at least {_SHORTEST} characters: this account can do everything."
        raise ProblemError(ProblemCode.INVALID_REQUEST, message, errors=[FieldError(field="password", message=message)])


def _first_steps(router: APIRouter, site: Site) -> None:
    @router.get("/projects/{project_id}/start")
    async def start_page(request: Request, project_id: str, actor: _Reader) -> Response:
        """Gateway, resource, account, session: what is done and what comes next."""
        facts = await _progress(site, actor, project_id)
        return await site.page(request, "start.html", **facts)

    @router.get("/projects/{project_id}/start/events")
    async def start_events(project_id: str, actor: _Reader) -> Response:
        """Whether a step is done now that was not."""

        async def look() -> object:
            facts = await _progress(site, actor, project_id)
            return facts["step"], facts["waiting"]

        return changes(look, site.services.stopping)


async def _progress(site: Site, actor: Actor, project_id: str) -> dict[str, Any]:
    """The first of everything, and the number of the step that comes next (5: all are done)."""
    services, some = site.services, Paging(limit=20)
    gateways = [
        each for each in (await services.fleet.list_gateways(project_id, some)).items if each.status != "revoked"
    ]
    online = next((each for each in gateways if each.status == "online"), None)
    resources = (await services.resources.list_visible(actor, project_id, some)).items
    resource = next((each for each in resources if each.test is not None and each.test.ok), None)
    resource = resource or (resources[0] if resources else None)
    accounts = []
    if resource is not None:
        accounts = (await services.accounts.list_visible(actor, project_id, resource.name, some)).items
    sessions = (await services.access.list_visible(actor, project_id, Paging(limit=1))).items
    done = (online is not None or bool(sessions), resource is not None, bool(accounts), bool(sessions))
    return {
        "step": next((number for number, is_done in enumerate(done, 1) if not is_done), len(done) + 1),
        "done": done,
        "gateway": online or (gateways[0] if gateways else None),
        "waiting": online is None and bool(gateways),
        "resource": resource,
        "account": accounts[0] if accounts else None,
        "session": sessions[0] if sessions else None,
    }
