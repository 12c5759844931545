"""Gateways of a project and relays of the organisation: made with a command to copy, watched while they connect.

The enrolment token is on the page that answers the making, this once: no address shows it again.
"""

from __future__ import annotations

import shlex
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from ....api.models import Gateway, GatewayCreate, GatewayCreated, RelayCreate, RelayCreated
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission
from ...identity.actor import not_found
from ...paging import Paging
from ...resources.service import Listing
from ..browser import viewer
from ..forms import Filled, Form
from ..live import changes
from ..site import Site

_PAGE = 100
_BLAME = {ProblemCode.CONFLICT: "name"}
_Reader = Annotated[Actor, Depends(viewer(Permission.PROJECT_GATEWAY_READ))]
_Maker = Annotated[Actor, Depends(viewer(Permission.PROJECT_GATEWAY_CREATE))]
_Revoker = Annotated[Actor, Depends(viewer(Permission.PROJECT_GATEWAY_REVOKE))]
_RelayReader = Annotated[Actor, Depends(viewer(Permission.ORGANISATION_RELAY_READ))]
_RelayMaker = Annotated[Actor, Depends(viewer(Permission.ORGANISATION_RELAY_CREATE))]


def build(site: Site) -> APIRouter:
    """The pages of the fleet."""
    router = APIRouter()
    _reading(router, site)
    _making(router, site)
    _revoking(router, site)
    _relays(router, site)
    return router


async def _find(site: Site, project_id: str, name: str) -> Gateway:
    """The gateway of that name: the one in use, else the newest that was revoked."""
    page = await site.services.fleet.list_gateways(project_id, Paging(limit=1000))
    named = [each for each in page.items if each.name == name]
    if not named:
        raise not_found(f"gateway {name[:63]} in this project")
    return next((each for each in named if each.status != "revoked"), named[-1])


def _reading(router: APIRouter, site: Site) -> None:
    fleet = site.services.fleet

    @router.get("/projects/{project_id}/gateways")
    async def gateways_page(request: Request, project_id: str, actor: _Reader, after: str | None = None) -> Response:
        """The project's gateways."""
        page = await fleet.list_gateways(project_id, Paging(after, _PAGE))
        return await site.page(request, "gateways/list.html", page=page, after=after)

    @router.get("/projects/{project_id}/gateways/events")
    async def gateways_events(project_id: str, actor: _Reader) -> Response:
        """Whether any of them is different now."""

        async def look() -> object:
            page = await fleet.list_gateways(project_id, Paging(limit=_PAGE))
            return [(each.id, each.status, each.sessions, len(each.instances)) for each in page.items]

        return changes(look, site.services.stopping)

    @router.get("/projects/{project_id}/gateways/{name}")
    async def gateway_page(request: Request, project_id: str, name: str, actor: _Reader) -> Response:
        """One gateway with its instances and what it reaches."""
        return await _show(site, request, actor, project_id, name)


async def _show(
    site: Site, request: Request, actor: Actor, project_id: str, name: str, made: GatewayCreated | None = None
) -> Response:
    found = await _find(site, project_id, name)
    page = await site.services.resources.list_visible(
        actor, project_id, Paging(limit=200), Listing(found.name, by_name=True)
    )
    used_by = [each for each in page.items if each.gateway == found.name]
    return await site.page(
        request,
        "gateways/show.html",
        gateway=found,
        used_by=used_by,
        token=None if made is None else made.token,
        token_expires_at=None if made is None else made.token_expires_at,
        command=None if made is None else _command("gateway", made),
    )


def _command(kind: str, made: GatewayCreated | RelayCreated) -> str:
    """One line that enrols and starts it. The token is in the environment: other users see a process's arguments."""
    name = shlex.quote(made.name)
    listen = "" if kind == "gateway" else " --listen 0.0.0.0:8443 --advertise relay.example.com:8443"
    return f"WARDGATE_ENROLMENT_TOKEN={made.token} wardgate {kind} run --name {name} --data-dir ./{kind}-{name}{listen}"


def _making(router: APIRouter, site: Site) -> None:
    @router.get("/projects/{project_id}/add-gateway")
    async def add_gateway_page(request: Request, project_id: str, actor: _Maker) -> Response:
        """The form of a new gateway."""
        return await site.page(request, "gateways/add.html", form=Filled())

    @router.post("/projects/{project_id}/add-gateway")
    async def add_gateway(request: Request, project_id: str, actor: _Maker) -> Response:
        """Make it, and show the command that starts it."""
        form = await Form.of(request)
        try:
            made = await site.services.fleet.create_gateway(actor, project_id, form.read(GatewayCreate).name)
        except ProblemError as refused:
            filled = Filled.again(form, refused, ("name",), _BLAME)
            return await site.page(request, "gateways/add.html", form=filled, status=refused.problem.status)
        return await _show(site, request, actor, project_id, made.name, made)

    @router.post("/projects/{project_id}/gateways/{name}/tokens")
    async def add_gateway_token(request: Request, project_id: str, name: str, actor: _Maker) -> Response:
        """A token for a further instance, or for one whose first token has run out."""
        made = await site.services.fleet.create_token(actor, project_id, name)
        return await _show(site, request, actor, project_id, name, made)


def _revoking(router: APIRouter, site: Site) -> None:
    @router.post("/projects/{project_id}/gateways/{name}/revoke")
    async def revoke_gateway_now(request: Request, project_id: str, name: str, actor: _Revoker) -> Response:
        """Cut a gateway off for good, if its name was typed."""
        url = f"/projects/{project_id}/gateways"
        if (await Form.of(request)).text("name") != name:
            words = "Nothing was revoked: what was typed is not the gateway’s name."
            return site.redirect(request, f"{url}/{name}", flash=words, tone="warn")
        await site.services.fleet.revoke_gateway(actor, project_id, name)
        return site.redirect(request, url, flash=f"The gateway {name} is revoked: its sessions end.")

    @router.post("/projects/{project_id}/gateways/{name}/instances/{instance_id}/revoke")
    async def revoke_instance_now(
        request: Request, project_id: str, name: str, instance_id: str, actor: _Revoker
    ) -> Response:
        """Cut one instance off for good."""
        await site.services.fleet.revoke_instance(actor, project_id, name, instance_id)
        return site.redirect(request, f"/projects/{project_id}/gateways/{name}", flash="The instance is revoked.")


def _relays(router: APIRouter, site: Site) -> None:
    fleet = site.services.fleet

    @router.get("/relays")
    async def relays_page(request: Request, actor: _RelayReader, after: str | None = None) -> Response:
        """The organisation's relays."""
        page = await fleet.list_relays(Paging(after, _PAGE))
        return await site.page(request, "gateways/relays.html", page=page, after=after, command=None, made=None)

    @router.get("/relays/events")
    async def relays_events(actor: _RelayReader) -> Response:
        """Whether any of them is different now."""

        async def look() -> object:
            page = await fleet.list_relays(Paging(limit=_PAGE))
            return [(each.id, each.status, each.address) for each in page.items]

        return changes(look, site.services.stopping)

    @router.get("/add-relay")
    async def add_relay_page(request: Request, actor: _RelayMaker) -> Response:
        """The form of a new relay."""
        return await site.page(request, "gateways/add_relay.html", form=Filled())

    @router.post("/add-relay")
    async def add_relay(request: Request, actor: _RelayMaker) -> Response:
        """Make it, and show the command that starts it."""
        form = await Form.of(request)
        try:
            made = await fleet.create_relay(actor, form.read(RelayCreate).name)
        except ProblemError as refused:
            filled = Filled.again(form, refused, ("name",), _BLAME)
            return await site.page(request, "gateways/add_relay.html", form=filled, status=refused.problem.status)
        page = await fleet.list_relays(Paging(limit=_PAGE))
        command = _command("relay", made)
        return await site.page(request, "gateways/relays.html", page=page, after=None, command=command, made=made)

    @router.post("/relays/{name}/revoke")
    async def revoke_relay_now(
        request: Request,
        name: str,
        actor: Annotated[Actor, Depends(viewer(Permission.ORGANISATION_RELAY_REVOKE))],
    ) -> Response:
        """Cut a relay off for good, if its name was typed."""
        if (await Form.of(request)).text("name") != name:
            words = "Nothing was revoked: what was typed is not the relay’s name."
            return site.redirect(request, "/relays", flash=words, tone="warn")
        await fleet.revoke_relay(actor, name)
        return site.redirect(request, "/relays", flash=f"The relay {name} is revoked.")
