"""Projects over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from ...api.audit import RecordSettings, RecordSettingsUpdate
from ...api.masking import MaskingRule, MaskingRuleCreate
from ...api.models import Page, Project, ProjectCreate
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .keeping import RecordKeeping
from .masking import MaskingRules
from .service import ProjectService


def build(projects: ProjectService, keeping: RecordKeeping, masking: MaskingRules) -> APIRouter:
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

    @router.get(
        "/{project_id}/record-settings",
        dependencies=[Depends(requires(Permission.PROJECT_RECORDS_READ))],
    )
    async def get_record_settings(project_id: str) -> RecordSettings:
        """How the project's records are made, and how long they are kept."""
        return await keeping.get(project_id)

    @router.patch("/{project_id}/record-settings")
    async def update_record_settings(
        project_id: str,
        body: RecordSettingsUpdate,
        actor: Annotated[Actor, Depends(requires(Permission.PROJECT_RECORDS_UPDATE))],
    ) -> RecordSettings:
        """Change it; durability is that of leases from now on."""
        return await keeping.update(actor, project_id, body)

    @router.get("/{project_id}/masking", dependencies=[Depends(requires(Permission.PROJECT_MASKING_READ))])
    async def list_masking_rules(project_id: str) -> Page[MaskingRule]:
        """What the project's records do not show: all rules, by name."""
        return await masking.list_all(project_id)

    @router.post("/{project_id}/masking", status_code=201)
    async def add_masking_rule(
        project_id: str,
        body: MaskingRuleCreate,
        actor: Annotated[Actor, Depends(requires(Permission.PROJECT_MASKING_UPDATE))],
    ) -> MaskingRule:
        """Mask more, in new leases at once and in live sessions within a heartbeat (10 s)."""
        return await masking.add(actor, project_id, body)

    @router.delete("/{project_id}/masking/{name}", status_code=204)
    async def remove_masking_rule(
        project_id: str, name: str, actor: Annotated[Actor, Depends(requires(Permission.PROJECT_MASKING_UPDATE))]
    ) -> None:
        """Mask by this rule no longer; what was masked stays masked."""
        await masking.remove(actor, project_id, name)

    return router
