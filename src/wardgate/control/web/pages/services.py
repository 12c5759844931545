"""Services: programs that sign in by themselves, with a client secret or a token that their platform signs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from ....api.problems import ProblemCode, ProblemError
from ....api.workloads import SecretCreate, SecretCreated, ServiceCreate, TrustCreate
from ...identity import Actor, Permission
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_PAGE: Final = 100
_Reader = Annotated[Actor, Depends(viewer(Permission.ORGANISATION_SERVICE_READ))]
_Updater = Annotated[Actor, Depends(viewer(Permission.ORGANISATION_SERVICE_UPDATE))]
_SHOWN: Final = ("name", "description", "networks", "duration", "issuer", "audience", "claim", "value")


def build(site: Site) -> APIRouter:
    """The list, and a service's page."""
    router = APIRouter()
    _list(router, site)
    _one(router, site)
    _credentials(router, site)
    return router


def _list(router: APIRouter, site: Site) -> None:
    workloads = site.services.workloads

    async def show(request: Request, form: Filled, after: str | None = None) -> Response:
        page = await workloads.page(Paging(after, _PAGE))
        status = 200 if form.problem is None else form.problem.status
        return await site.page(request, "services/list.html", status=status, page=page, form=form, after=after)

    @router.get("/services")
    async def services_page(
        request: Request, actor: _Reader, after: Annotated[str | None, Query(max_length=256)] = None
    ) -> Response:
        """All of them."""
        return await show(request, Filled(), after)

    @router.post("/services")
    async def create_service(
        request: Request, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_SERVICE_CREATE))]
    ) -> Response:
        """Make one."""
        form = await Form.of(request)
        lists: dict[str, Any] = {"networks": form.text("networks").split(), "scopes": ["connect"]}
        try:
            made = await workloads.create(actor, form.read(ServiceCreate, **lists))
        except ProblemError as refused:
            return await show(request, Filled.again(form, refused, _SHOWN, {ProblemCode.CONFLICT: "name"}))
        return site.redirect(request, f"/services/{made.id}", flash=f"{made.name} is made: give it a credential.")


async def _show(
    site: Site, request: Request, service: str, form: Filled, made: SecretCreated | None = None
) -> Response:
    found = await site.services.workloads.get(service)
    status = 200 if form.problem is None else form.problem.status
    return await site.page(request, "services/show.html", status=status, service=found, form=form, made=made)


def _one(router: APIRouter, site: Site) -> None:
    workloads = site.services.workloads

    @router.get("/services/{service}")
    async def service_page(request: Request, service: str, actor: _Reader) -> Response:
        """One service and its credentials."""
        return await _show(site, request, service, Filled())

    @router.post("/services/{service}/disable")
    async def disable_service(request: Request, service: str, actor: _Updater) -> Response:
        """Keep it out."""
        await workloads.disable(actor, service)
        return site.redirect(request, f"/services/{service}", flash="It is kept out; its tokens and sessions end.")

    @router.post("/services/{service}/enable")
    async def enable_service(request: Request, service: str, actor: _Updater) -> Response:
        """Let it in again."""
        await workloads.enable(actor, service)
        return site.redirect(request, f"/services/{service}", flash="It can sign in again.")

    @router.post("/services/{service}/delete")
    async def delete_service(
        request: Request, service: str, actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_SERVICE_DELETE))]
    ) -> Response:
        """Remove it; its records stay."""
        found = await workloads.get(service)
        if (await Form.of(request)).text("confirm") != found.name:
            raise ProblemError(
                ProblemCode.INVALID_REQUEST, "The name that was typed is not this service's: nothing is removed."
            )
        await workloads.delete(actor, service)
        return site.redirect(request, "/services", flash="The service is removed; what it did stays on record.")


def _credentials(router: APIRouter, site: Site) -> None:
    workloads = site.services.workloads

    @router.post("/services/{service}/secrets")
    async def create_service_secret(request: Request, service: str, actor: _Updater) -> Response:
        """A client secret, shown this once: the answer is the page itself and no redirect."""
        form = await Form.of(request)
        try:
            made = await workloads.create_secret(actor, service, form.read(SecretCreate))
        except ProblemError as refused:
            blame = {ProblemCode.INVALID_DURATION: "duration"}
            return await _show(site, request, service, Filled.again(form, refused, _SHOWN, blame))
        return await _show(site, request, service, Filled(), made)

    @router.post("/services/{service}/secrets/{secret}/revoke")
    async def revoke_service_secret(request: Request, service: str, secret: str, actor: _Updater) -> Response:
        """Take one back."""
        await workloads.revoke_secret(actor, service, secret)
        return site.redirect(request, f"/services/{service}", flash="The secret opens nothing any more.")

    @router.post("/services/{service}/trusts")
    async def add_service_trust(request: Request, service: str, actor: _Updater) -> Response:
        """Take an issuer's tokens."""
        form = await Form.of(request)
        conditions: dict[str, Any] = {"conditions": {form.text("claim"): form.text("value")}}
        try:
            await workloads.add_trust(actor, service, form.read(TrustCreate, **conditions))
        except ProblemError as refused:
            blame = {ProblemCode.NOT_FOUND: "issuer"}
            return await _show(site, request, service, Filled.again(form, refused, _SHOWN, blame))
        return site.redirect(request, f"/services/{service}", flash="Tokens of that issuer are taken now.")

    @router.post("/services/{service}/trusts/{trust}/remove")
    async def remove_service_trust(request: Request, service: str, trust: str, actor: _Updater) -> Response:
        """Take no more of them."""
        await workloads.remove_trust(actor, service, trust)
        return site.redirect(request, f"/services/{service}", flash="Tokens of that issuer are not taken any more.")
