"""Groups: people who hold roles together."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from ....api.people import GroupCreate
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_PAGE: Final = 100
_Updater = Annotated[Actor, Depends(viewer(Permission.ORGANISATION_GROUP_UPDATE))]
_Reader = Annotated[Actor, Depends(viewer(Permission.ORGANISATION_GROUP_READ))]


def build(site: Site) -> APIRouter:
    """The list, and a group's page."""
    router = APIRouter()
    _list(router, site)
    _one(router, site)
    return router


def _list(router: APIRouter, site: Site) -> None:
    groups = site.services.groups

    async def show(request: Request, form: Filled, after: str | None = None) -> Response:
        page = await groups.page(Paging(after, _PAGE))
        status = 200 if form.problem is None else form.problem.status
        return await site.page(request, "groups/list.html", status=status, page=page, form=form, after=after)

    @router.get("/groups")
    async def groups_page(
        request: Request, actor: _Reader, after: Annotated[str | None, Query(max_length=256)] = None
    ) -> Response:
        """All of them."""
        return await show(request, Filled(), after)

    @router.post("/groups")
    async def create_group(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_GROUP_CREATE))]
    ) -> Response:
        """Make one."""
        form = await Form.of(request)
        try:
            made = await groups.create(actor, form.read(GroupCreate))
        except ProblemError as refused:
            blame = {ProblemCode.CONFLICT: "name"}
            return await show(request, Filled.again(form, refused, ("name", "description"), blame))
        return site.redirect(request, f"/groups/{made.id}", flash=f"The group {made.name} is made.")


def _one(router: APIRouter, site: Site) -> None:
    groups = site.services.groups

    async def show(request: Request, group: str, form: Filled) -> Response:
        found = await groups.get(group)
        status = 200 if form.problem is None else form.problem.status
        return await site.page(request, "groups/show.html", status=status, group=found, form=form)

    @router.get("/groups/{group}")
    async def group_page(request: Request, group: str, actor: _Reader) -> Response:
        """One group, with its members and roles."""
        return await show(request, group, Filled())

    @router.post("/groups/{group}/members")
    async def add_group_member(request: Request, group: str, actor: _Updater) -> Response:
        """Put somebody in."""
        form = await Form.of(request)
        try:
            await groups.add_member(actor, group, form.text("user"))
        except ProblemError as refused:
            blame = {ProblemCode.NOT_FOUND: "user", ProblemCode.CONFLICT: "user"}
            return await show(request, group, Filled.again(form, refused, ("user",), blame))
        return site.redirect(request, f"/groups/{group}", flash=f"{form.text('user')} is in the group now.")

    @router.post("/groups/{group}/members/{user}/remove")
    async def remove_group_member(request: Request, group: str, user: str, actor: _Updater) -> Response:
        """Take somebody out."""
        await groups.remove_member(actor, group, user)
        return site.redirect(request, f"/groups/{group}", flash="They are out of the group.")

    @router.post("/groups/{group}/delete")
    async def delete_group(
        request: Request, group: str, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_GROUP_DELETE))]
    ) -> Response:
        """Remove the group, and with it the roles that it gives."""
        found = await groups.get(group)
        if (await Form.of(request)).text("confirm") != found.name:
            raise ProblemError(
                ProblemCode.INVALID_REQUEST, "The name that was typed is not this group's: nothing is removed."
            )
        await groups.delete(actor, group)
        return site.redirect(request, "/groups", flash="The group is removed.")
