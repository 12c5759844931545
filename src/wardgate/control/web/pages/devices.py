"""Letting another device in, and the devices where one is signed in."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from ....api.journal import SignInUpdate
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_Approver = Annotated[Actor, Depends(viewer(Permission.SELF_DEVICE_APPROVE))]
_Reader = Annotated[Actor, Depends(viewer(Permission.SELF_IDENTITY_READ))]
_Ender = Annotated[Actor, Depends(viewer(Permission.SELF_SIGN_IN_END))]


def build(site: Site) -> APIRouter:
    """`/device`, `/authorize/…` and `/devices`."""
    router = APIRouter()
    _typing(router, site)
    _deciding(router, site)
    _list(router, site)
    return router


def _typing(router: APIRouter, site: Site) -> None:
    @router.get("/device")
    async def device_code_page(request: Request, actor: _Approver) -> Response:
        """Ask for the code that a device shows."""
        return await site.page(request, "devices/code.html", form=Filled())

    @router.post("/device")
    async def device_code(request: Request, actor: _Approver) -> Response:
        """Show the device that shows the code. It has no address of its own: a link that somebody sends must not
        spare its reader the typing, which is what they would notice (RFC 8628, section 5.4)."""
        form = await Form.of(request)
        code = form.text("code")
        try:
            waiting = await site.services.devices.describe(actor, code)
        except ProblemError as refused:
            filled = Filled.again(form, refused, ("code",), {ProblemCode.NOT_FOUND: "code"})
            return await site.page(request, "devices/code.html", form=filled, status=refused.problem.status)
        try:
            await site.services.devices.must_be_fresh(actor)
        except ProblemError as stale:
            return _sign_in_again(site, "/device", request, stale)
        return await site.page(request, "devices/waiting.html", waiting=waiting, code=waiting.code)


def _deciding(router: APIRouter, site: Site) -> None:
    devices = site.services.devices

    @router.get("/authorize/{code}")
    async def waiting_device_page(request: Request, code: str, actor: _Approver) -> Response:
        """Show which device asks to be let in."""
        waiting = await devices.describe(actor, code)
        if waiting.returns_to is None:
            return site.redirect(request, "/device")
        try:
            await devices.must_be_fresh(actor)
        except ProblemError as stale:
            return _sign_in_again(site, request.url.path, request, stale)
        # The answer leads to the address on loopback that the device listens at, and the page's policy must allow it.
        targets = (waiting.returns_to,)
        return await site.page(request, "devices/waiting.html", form_targets=targets, waiting=waiting, code=code)

    @router.post("/authorize/{code}")
    async def decide_on_waiting_device(request: Request, code: str, actor: _Approver) -> Response:
        """Let it in, or turn it away."""
        allowed = (await Form.of(request)).text("decision") == "approve"
        try:
            decided = await (devices.approve if allowed else devices.deny)(actor, code)
        except ProblemError as refused:
            if refused.problem.code is not ProblemCode.FRESH_SIGN_IN_REQUIRED:
                raise
            return _sign_in_again(site, "/device", request, refused)
        if decided.redirect is not None:
            return RedirectResponse(decided.redirect, 303)
        return await site.page(request, "devices/decided.html", allowed=allowed)


def _sign_in_again(site: Site, wanted: str, request: Request, why: ProblemError) -> Response:
    query = urlencode({"next": wanted, "again": "1"})
    return site.redirect(request, f"/sign-in?{query}", flash=why.message, tone="warn")


def _list(router: APIRouter, site: Site) -> None:
    sign_ins = site.services.sign_ins

    @router.get("/devices")
    async def devices_page(request: Request, actor: _Reader) -> Response:
        """Where one is signed in."""
        found = await sign_ins.page(actor.user_id, current=actor.sign_in_id)
        return await site.page(request, "devices/list.html", devices=found, form=Filled())

    @router.post("/devices/{device}/rename")
    async def rename_device(request: Request, device: str, actor: _Ender) -> Response:
        """Give it another name."""
        form = await Form.of(request)
        named = await sign_ins.rename(actor, device, form.read(SignInUpdate).name)
        return site.redirect(request, "/devices", flash=f"It is called {named.name} now.")

    @router.post("/devices/{device}/sign-out")
    async def sign_out_device(request: Request, device: str, actor: _Ender) -> Response:
        """Sign it out."""
        await sign_ins.end(actor, device)
        return site.redirect(request, "/devices", flash="That device is signed out, and its sessions end.")

    @router.post("/devices/sign-out-others")
    async def sign_out_others(request: Request, actor: _Ender) -> Response:
        """Sign every device out but this browser."""
        await sign_ins.end_others(actor)
        return site.redirect(request, "/devices", flash="All other devices are signed out.")
