"""Who may do what in a project: the roles bound to people, groups and services at it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from ....api.people import BindingCreate
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_PAGE: Final = 100
_SHOWN: Final = ("kind", "holder", "role", "duration")
_KINDS: Final = frozenset({"user", "group", "service"})
_Reader = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_BINDING_READ, within=True))]


def build(site: Site) -> APIRouter:
    """The list, granting and taking back."""
    router = APIRouter()
    bindings = site.services.bindings

    async def show(request: Request, actor: Actor, project_id: str, form: Filled, after: str | None = None) -> Response:
        page = await bindings.page(actor, Paging(after, _PAGE), holder=None, scope=project_id)
        status = 200 if form.problem is None else form.problem.status
        return await site.page(request, "members/list.html", status=status, page=page, form=form, after=after)

    @router.get("/projects/{project_id}/members")
    async def members_page(
        request: Request, project_id: str, actor: _Reader, after: Annotated[str | None, Query(max_length=256)] = None
    ) -> Response:
        """Roles at the project itself."""
        return await show(request, actor, project_id, Filled({"kind": "user", "role": "connector"}), after)

    @router.post("/projects/{project_id}/members")
    async def grant_role(
        request: Request,
        project_id: str,
        actor: Annotated[Actor, Depends(viewer(Permission.ACCOUNT_BINDING_CREATE, within=True))],
    ) -> Response:
        """Give a role."""
        form = await Form.of(request)
        kind = form.text("kind")
        holder: dict[str, Any] = {kind: form.text("holder") or None} if kind in _KINDS else {}
        try:
            made = await bindings.grant(
                actor, form.read(BindingCreate, only=("role", "duration"), scope=project_id, **holder)
            )
        except ProblemError as refused:
            blame = {ProblemCode.NOT_FOUND: "holder", ProblemCode.INVALID_DURATION: "duration"}
            return await show(request, actor, project_id, Filled.again(form, refused, _SHOWN, blame))
        flash = f"{made.holder} is {made.role} here now."
        return site.redirect(request, f"/projects/{project_id}/members", flash=flash)

    @router.post("/projects/{project_id}/members/{binding}/revoke")
    async def revoke_role(
        request: Request,
        project_id: str,
        binding: str,
        actor: Annotated[Actor, Depends(viewer(Permission.ACCOUNT_BINDING_DELETE, within=True))],
    ) -> Response:
        """Take a role back."""
        await bindings.revoke(actor, binding)
        return site.redirect(request, f"/projects/{project_id}/members", flash="The role is taken back.")

    return router
