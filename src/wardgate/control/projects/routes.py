"""Projects over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from ...api.models import Page, Project, ProjectCreate
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .service import ProjectService


def build(projects: ProjectService) -> APIRouter:
    """The routes below `/projects` that are about projects themselves."""
    router = APIRouter(prefix="/projects", tags=["projects"])

    @router.post("", status_code=201)
    async def create_project(
        body: ProjectCreate, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_PROJECT_CREATE))]
    ) -> Project:
        """Make a project."""
        return await projects.create(actor, body.name)

    @router.get("")
    async def list_projects(
        # Everybody may ask; the answer holds what they see, which may be nothing.
        actor: Annotated[Actor, Depends(requires(Permission.SELF_IDENTITY_READ))],
        page: Annotated[Paging, Depends(paging)],
    ) -> Page[Project]:
        """The projects that you see."""
        return await projects.list_visible(actor, page)

    @router.get(
        "/{project_id}",
        dependencies=[Depends(requires(Permission.PROJECT_DETAILS_READ, within=True))],
    )
    async def get_project(project_id: str) -> Project:
        """One project."""
        return await projects.get(project_id)

    return router
