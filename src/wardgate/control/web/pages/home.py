"""Where one lands, and the switching of projects."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from ....api.models import ProjectCreate
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_MENU = 30
_LANDING = ("/projects/{project_id}/overview", "/projects/{project_id}/resources")

_Anybody = Annotated[Actor, Depends(viewer(Permission.SELF_IDENTITY_READ))]


def build(site: Site) -> APIRouter:
    """`/`, `/projects` and what is directly below."""
    router = APIRouter()
    _landing(router, site)
    _projects(router, site)
    return router


def _landing(router: APIRouter, site: Site) -> None:
    @router.get("/")
    async def home_page(request: Request, actor: _Anybody) -> Response:
        """To the only project, or to the list of them."""
        found = await site.services.projects.list_visible(actor, Paging(limit=2))
        if len(found.items) == 1:
            return site.redirect(request, f"/projects/{found.items[0].id}")
        return site.redirect(request, "/projects")

    @router.get("/projects/{project_id}")
    async def project_page(
        request: Request,
        project_id: str,
        actor: Annotated[Actor, Depends(viewer(Permission.PROJECT_DETAILS_READ, within=True))],
    ) -> Response:
        """To the first page that the project has."""
        await site.services.projects.get(project_id)
        path = next((path for path in _LANDING if path in site.paths), "/projects")
        return site.redirect(request, path.format(project_id=project_id))


def _projects(router: APIRouter, site: Site) -> None:
    projects = site.services.projects

    @router.get("/projects")
    async def projects_page(request: Request, actor: _Anybody, after: str | None = None) -> Response:
        """The projects that one sees."""
        page = await projects.list_visible(actor, Paging(after, 50))
        return await site.page(request, "projects/list.html", page=page, after=after)

    @router.get("/projects/menu")
    async def projects_menu(request: Request, actor: _Anybody) -> Response:
        """The switcher's list, fetched when it is opened."""
        page = await projects.list_visible(actor, Paging(limit=_MENU))
        return await site.page(request, "projects/menu.html", page=page)

    @router.get("/add-project")
    async def add_project_page(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_PROJECT_CREATE))]
    ) -> Response:
        """The form of a new project."""
        return await site.page(request, "projects/add.html", form=Filled())

    @router.post("/add-project")
    async def add_project(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_PROJECT_CREATE))]
    ) -> Response:
        """Make it."""
        form = await Form.of(request)
        try:
            made = await projects.create(actor, form.read(ProjectCreate).name)
        except ProblemError as refused:
            filled = Filled.again(form, refused, ("name",), {ProblemCode.CONFLICT: "name"})
            return await site.page(request, "projects/add.html", form=filled, status=refused.problem.status)
        return site.redirect(request, f"/projects/{made.id}", flash=f"The project {made.name} is made.")
